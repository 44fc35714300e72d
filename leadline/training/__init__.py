"""The training loop, its options and its losses."""
