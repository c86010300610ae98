"""SWAP: in how many ways a network's neurons divide the samples.

Peng et al., "SWAP-NAS: sample-wise activation patterns for ultra-fast NAS", https://arxiv.org/abs/2403.04161

    score = number of distinct columns of A [N, F],  A = which inputs of all ReLUs are above 0 (samples x neurons)
    regularised: score * exp(-(params - mu)^2 / sigma)

Distinct over neurons, not over samples: at most 2^N. mu and sigma are the wished size of a network and how strictly
it is held, in parameters and their square.

The authors' code (pym1024/SWAP, swap.py) reads the signs of the outputs of ReLU modules on feature maps alone, also
of those that do not reach the outputs; here every ReLU on the way to the outputs.
"""
# N samples, F neurons

import math

import torch
from torch import Tensor

from ...errors import SupernetError
from ..probe import Trial, different, relu_codes
from .params import params
from .registry import zero_cost

__all__ = ["swap"]


@zero_cost("swap")
def swap(trial: Trial, /, *, mu: float | None = None, sigma: float | None = None) -> float:
    """The mean over batches; regularised where `mu` and `sigma`, above 0, are given."""

    def of_batch(inputs: Tensor, targets: object) -> float:
        return float(different(torch.cat(relu_codes(trial, inputs), 1).T))

    return trial.mean(of_batch) * _regularisation(trial, mu, sigma)


def _regularisation(trial: Trial, mu: float | None, sigma: float | None) -> float:
    if mu is None and sigma is None:
        return 1.0
    if not isinstance(mu, int | float) or not isinstance(sigma, int | float) or not sigma > 0:
        raise SupernetError(f"swap: mu={mu!r:.40} and sigma={sigma!r:.40} must both be numbers, sigma above 0, or None")
    return math.exp(-((params(trial) - mu) ** 2) / sigma)
