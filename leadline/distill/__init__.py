"""Losses that close over a teacher: another net whose answers are learned beside, or in place of, the data's depth.

It imports nothing: options are read by the command line before torch is.
"""
