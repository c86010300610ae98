"""Gradient norm: how strongly a first step would move the network.

Abdelfattah et al., "Zero-cost proxies for lightweight NAS", https://arxiv.org/abs/2101.08134, section 3.1.

    score = sum over layers of |dL/dtheta|_2   weights of convolutions and linear layers

A sum of norms, not the norm of all gradients together. The authors' code (SamsungLabs/zero-cost-nas, grad_norm.py) is
the same; a layer that does not reach the loss adds nothing there either.
"""

from torch import Tensor

from ..probe import Trial, loss_gradients
from .registry import zero_cost

__all__ = ["grad_norm"]


@zero_cost("grad_norm")
def grad_norm(trial: Trial, /) -> float:
    """The mean over batches."""

    def of_batch(inputs: Tensor, targets: object) -> float:
        return sum(float(g.norm()) for _, g in loss_gradients(trial, inputs, targets))

    return trial.mean(of_batch)
