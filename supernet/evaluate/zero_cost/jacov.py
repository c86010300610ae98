"""Jacobian covariance: how differently the network answers different samples.

Mellor et al., "Neural architecture search without training", first version, https://arxiv.org/abs/2006.04647v1; as a
score beside others: https://arxiv.org/abs/2101.08134.

    score = -sum (log(v + k) + 1 / (v + k)),  k = 1e-5
    v the eigenvalues of the correlations [N, N] between rows of J [N, inputs], J_n = d (sum of all logits) / d input n

The backward pass runs in the network's type, the correlations and their eigenvalues in float64.

The authors' code (SamsungLabs/zero-cost-nas, jacob_cov.py) takes the eigenvalues of a general matrix in float32, whose
rounding can make them complex, and gives NaN for a sample whose gradient is the same everywhere: an error here.
"""
# N samples

import torch
from torch import Tensor

from ...errors import NumbersError
from ..probe import Trial, gradients, real
from .registry import zero_cost

__all__ = ["jacov"]

K = 1e-5


@zero_cost("jacov")
def jacov(trial: Trial, /) -> float:
    """The mean over batches; raises NumbersError for a sample that the outputs do not depend on."""
    return trial.mean(lambda inputs, targets: _of_batch(trial, inputs))


def _of_batch(trial: Trial, inputs: Tensor) -> float:
    leaf = real(inputs).detach().requires_grad_(True)
    # A copy behind the leaf: a network may open with an operation that works in place.
    (jacobian,) = gradients(trial.outputs(leaf.clone()).sum(), [leaf])
    rows = jacobian.flatten(1).double()
    dead = torch.nonzero(rows.amax(1) == rows.amin(1)).flatten().tolist()
    if dead:
        raise NumbersError(
            f"jacov: the gradient of sample {dead[0]} of a batch of {len(rows)} is the same in every input, so it "
            "has no correlation with others"
        )
    v = torch.linalg.eigvalsh(torch.corrcoef(rows))
    return -float((torch.log(v + K) + 1 / (v + K)).sum())
