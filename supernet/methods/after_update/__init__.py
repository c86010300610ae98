"""What follows the step of the weights."""

from . import keep_unchosen

__all__ = ["keep_unchosen"]
