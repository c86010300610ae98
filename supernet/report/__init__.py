"""Showing results: drawings of cells and of mixing weights."""
