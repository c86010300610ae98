"""Kills, saves, long runs and the guard of the numbers: whether a run survives, and what that costs."""
