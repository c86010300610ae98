"""Regularisers: terms of the loss, as gradients to add."""

from . import beta_decay, dirichlet_kl, entropy, expected_cost, flooding, layer_alignment, self_distillation, zero_one

__all__ = [
    "beta_decay",
    "dirichlet_kl",
    "entropy",
    "expected_cost",
    "flooding",
    "layer_alignment",
    "self_distillation",
    "zero_one",
]
