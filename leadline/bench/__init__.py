"""Measurements of files on this machine: how long, how accurate, how large, and how far from what it could do."""
