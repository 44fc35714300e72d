"""Pruning: whole channels go."""
