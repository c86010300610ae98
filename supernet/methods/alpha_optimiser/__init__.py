"""What steps the alphas."""

from . import adam

__all__ = ["adam"]
