"""Data that are handed over in Python: arrays, tensors, and map-style data sets, with labels of any kind."""
