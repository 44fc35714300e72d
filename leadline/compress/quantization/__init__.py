"""Quantisation: which file is fast and accurate enough."""
