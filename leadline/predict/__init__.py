"""Photographs in, depth out."""
