"""What follows the step of the weights."""

from . import group_step, keep_unchosen

__all__ = ["group_step", "keep_unchosen"]
