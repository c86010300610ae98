"""Running things: the bilevel loop, retraining, and what both measure."""
