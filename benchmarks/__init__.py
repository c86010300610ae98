"""Measurements of this project; each script runs from a bare checkout."""
