"""SNIP: how much the loss would feel the loss of each weight.

Lee, Ajanthan and Torr, "SNIP: single-shot network pruning based on connection sensitivity",
https://arxiv.org/abs/1810.02340; as a score: https://arxiv.org/abs/2101.08134.

    score = sum |theta * dL/dtheta|   over the weights of convolutions and linear layers

The authors' code (SamsungLabs/zero-cost-nas, snip.py) multiplies each weight by a mask of ones and takes the gradient
of the mask, which is theta * dL/dtheta: the same numbers. It does not divide by their sum, as the pruning of the
paper does.
"""

from torch import Tensor

from ..probe import Trial, loss_gradients
from .registry import zero_cost

__all__ = ["snip"]


@zero_cost("snip")
def snip(trial: Trial, /) -> float:
    """The mean over batches."""

    def of_batch(inputs: Tensor, targets: object) -> float:
        return sum(float((w * g).abs().sum()) for w, g in loss_gradients(trial, inputs, targets))

    return trial.mean(of_batch)
