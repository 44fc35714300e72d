"""Damaged and hostile files for everything that leadline reads: `make fuzz`, or `PYTHONPATH=tests python -m fuzz`."""
