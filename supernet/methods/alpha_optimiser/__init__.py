"""What steps the alphas."""

from . import adam, clipped_adam, exp_gradient, rescaled_adam

__all__ = ["adam", "clipped_adam", "exp_gradient", "rescaled_adam"]
