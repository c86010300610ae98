"""Regularisers: terms of the loss, as gradients to add."""

from . import beta_decay, dirichlet_kl

__all__ = ["beta_decay", "dirichlet_kl"]
