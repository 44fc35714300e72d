"""Weights from other programs' files."""
