"""ZiCo: gradients that are large and steady over batches.

Li et al., "ZiCo: zero-shot NAS via inverse coefficient of variation on gradients", https://arxiv.org/abs/2301.11300

    score = sum over layers of log sum over theta of  mean_b |g_b| / std_b(g_b)
    theta the weights of convolutions and linear layers

g_b is the gradient of the loss of batch b, std divides by the number of batches; weights whose gradient is the same in
every batch are skipped, and layers with no others. It needs two batches or more.

The authors' code (SLDGroup/ZiCo, compute_zico.py) is the same, and counts in numpy's float32. Where all batches are
the same it gives 0, which here is an error.
"""
# B batches, P weights of a layer

import math

import torch

from ...errors import NumbersError
from ..probe import Trial, loss_gradients
from .registry import zero_cost

__all__ = ["zico"]


@zero_cost("zico", batches=2)
def zico(trial: Trial, /) -> float:
    """Of all batches together; raises NumbersError where no gradient differs between them."""
    batches = [[g.flatten() for _, g in loss_gradients(trial, *batch)] for batch in trial.batches]
    total, counted = 0.0, False
    for gradients in zip(*batches, strict=True):
        g_BP = torch.stack(gradients)
        std_P = g_BP.std(0, unbiased=False)
        differs_P = std_P > 0
        if bool(differs_P.any()):
            ratio = float((g_BP.abs().mean(0)[differs_P] / std_P[differs_P]).double().sum())
            total, counted = total + math.log(ratio), True
    if not counted:
        raise NumbersError("zico: no gradient differs between the batches; are they the same samples?")
    return total
