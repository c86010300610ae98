"""What a retraining takes over from the run whose genotype it trains: as words of a command, and in Python."""
