"""Whole steps and whole searches: seconds and dispatched operations, beside the original formulation."""
