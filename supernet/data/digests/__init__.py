"""What data held when a run began: digests of each kind of source, and readings of before that are others now."""
