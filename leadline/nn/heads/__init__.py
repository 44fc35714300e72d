"""Heads: from features to a map."""
