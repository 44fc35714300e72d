"""One module for each runtime."""
