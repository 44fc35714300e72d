"""Layouts: how data sets lie on disk. Each is a function that returns a Dataset."""
