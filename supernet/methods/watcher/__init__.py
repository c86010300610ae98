"""Watchers: what looks at each ended epoch and may prune, freeze, stop or go back."""

from . import best_epoch, eigenvalue, gradient_agreement, shapley

__all__ = ["best_epoch", "eigenvalue", "gradient_agreement", "shapley"]
