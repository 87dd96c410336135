"""Measures model servers side by side: the parts of `run.py`, one concept per module."""
