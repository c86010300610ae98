"""Plain: the first-order change of the loss were all weights set to zero, with its sign.

Mozer and Smolensky, "Skeletonization", NeurIPS 1988; as a score: Abdelfattah et al., https://arxiv.org/abs/2101.08134.

    score = sum theta * dL/dtheta   over the weights of convolutions and linear layers

It is signed, and so a small difference of large numbers: snip without the absolute value. Layers in front of a batch
norm add nothing, for the loss does not know the size of their weights. The authors' code (SamsungLabs/zero-cost-nas,
plain.py) is the same.
"""

from torch import Tensor

from ..probe import Trial, loss_gradients
from .registry import zero_cost

__all__ = ["plain"]


@zero_cost("plain")
def plain(trial: Trial, /) -> float:
    """The mean over batches."""

    def of_batch(inputs: Tensor, targets: object) -> float:
        return sum(float((w * g).sum()) for w, g in loss_gradients(trial, inputs, targets))

    return trial.mean(of_batch)
