"""Synaptic flow: how much signal the sizes of the weights let through.

Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow",
https://arxiv.org/abs/2006.05467; as a score: https://arxiv.org/abs/2101.08134.

    score = sum |theta * dR/dtheta|,  R = the sum of the outputs for an input of ones, with |theta| for every parameter

It needs no data, and float64: R is a product over all layers, which float32 cannot hold. Batch norms are the identity.

The authors' code (SamsungLabs/zero-cost-nas, synflow.py) takes absolute values of buffers too, which is the same once
batch norms are out, and sums over convolutions and linear layers, biases left out, as here. Layer norms stay in,
there as here.
"""

import torch

from ..probe import Trial, gradients, neutralise_norms, weights
from .registry import zero_cost

__all__ = ["synflow"]


@zero_cost("synflow", dtype=torch.float64)
def synflow(trial: Trial, /) -> float:
    """Of the first batch only the shape of a sample is read."""
    ones = torch.ones_like(trial.images[:1])
    neutralise_norms(trial.network)
    with torch.no_grad():
        for parameter in trial.network.parameters():
            parameter.abs_()
    of = weights(trial.network)
    grads = gradients(trial.outputs(ones).sum(), of)
    return sum(float((w.detach() * g).abs().sum()) for w, g in zip(of, grads, strict=True))
