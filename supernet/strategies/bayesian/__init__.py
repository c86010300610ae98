"""Models of the score, which say what to look at next."""
