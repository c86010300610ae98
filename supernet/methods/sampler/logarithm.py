"""The logarithm of mixing weights, as samplers need it."""

import torch
from torch import Tensor

__all__ = ["log_weights"]


def log_weights(p: Tensor) -> Tensor:
    """log p of weights p >= 0 of any shape; where p is 0 it is -inf, and has no gradient (torch's own is NaN)."""
    return torch.log(p.clamp_min(torch.finfo(p.dtype).tiny)).masked_fill(p == 0, float("-inf"))
