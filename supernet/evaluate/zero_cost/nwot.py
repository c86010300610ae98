"""NASWOT: how many samples a network's ReLUs tell apart.

Mellor et al., "Neural architecture search without training", https://arxiv.org/abs/2006.04647

    score = log |det K|,  K = sum over ReLUs of x x' + (1 - x)(1 - x)'
    x [N, F] = which of the ReLU's inputs are above 0

K counts on how many neurons two samples agree. The authors' code (BayesWatch/nas-without-training, score_networks.py)
counts ReLUs that the backward pass reaches, as here; a module that runs twice counts as often as it runs.
"""
# N samples, F neurons

import torch
from torch import Tensor

from ...errors import NumbersError
from ..probe import Trial, relu_codes
from .registry import zero_cost

__all__ = ["nwot"]


@zero_cost("nwot")
def nwot(trial: Trial, /) -> float:
    """The mean over batches; raises NumbersError where samples have the same codes, so that the determinant is 0."""
    return trial.mean(lambda inputs, targets: _of_batch(trial, inputs))


def _of_batch(trial: Trial, inputs: Tensor) -> float:
    kernel = torch.zeros(len(inputs), len(inputs), dtype=torch.float64)
    for code in relu_codes(trial, inputs):
        x = code.float()  # counts below 2^24 are exact
        kernel += (x @ x.T + (1 - x) @ (1 - x).T).cpu()
    if len(torch.unique(kernel, dim=0)) < len(kernel):
        raise NumbersError("nwot: two samples of a batch are the same to every ReLU; are they the same sample?")
    return float(torch.linalg.slogdet(kernel).logabsdet)
