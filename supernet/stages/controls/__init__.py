"""Random cells of equal size that are retrained beside a found one, by the same recipe and seed."""
