"""Synthetic scenes from a seed."""
