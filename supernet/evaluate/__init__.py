"""What an architecture is worth: zero-cost scores, a table of scores, paired intervals, controls of equal size."""
