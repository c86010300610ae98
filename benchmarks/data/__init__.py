"""What data can tell: whether architectures differ on them by more than seeds do."""
