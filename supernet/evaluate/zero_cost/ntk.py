"""Condition number of the neural tangent kernel: how evenly the samples can be learned. Lower is better.

Chen, Gong and Wang, "Neural architecture search on ImageNet in four GPU hours: a theoretically inspired perspective"
(TE-NAS), https://arxiv.org/abs/2102.11535

    score = largest / smallest eigenvalue of J J' [N, N],  J_n = d (sum of the logits of sample n) / d theta

Over parameters whose name has "weight" in it, scales of norms included; all samples of all batches are one kernel.
float64: in float32 the smallest eigenvalue is rounding from a ratio of about 1e6 on. J has N rows of all weights.

The authors' code (VITA-Group/TENAS, ntk.py) counts in float32, gives 100000 where 0 / 0 comes out, and averages three
draws of Kaiming-normal weights, for one is noisy: build three networks from three seeds. A singular kernel is an
error here.
"""
# N samples, P weights

import torch
from torch import Tensor

from ...errors import NumbersError, SupernetError
from ..probe import Trial
from .registry import zero_cost

__all__ = ["ntk"]


@zero_cost("ntk", higher_is_better=False, dtype=torch.float64)
def ntk(trial: Trial, /) -> float:
    """1 or more; raises NumbersError where the kernel is singular."""
    of = [p for name, p in trial.network.named_parameters() if "weight" in name]
    if not of:
        raise SupernetError("ntk: no parameter of this network has the word weight in its name")
    jacobian_NP = torch.cat([_rows(trial, inputs, of) for inputs, _ in trial.batches])
    values = torch.linalg.eigvalsh(jacobian_NP @ jacobian_NP.T)
    largest, smallest = float(values[-1]), float(values[0])
    if not smallest > largest * len(values) * torch.finfo(torch.float64).eps:
        raise NumbersError(
            f"ntk: the kernel of {len(values)} samples is singular (eigenvalues {smallest:.3g} to {largest:.3g}): two "
            "samples are the same to the network, or it has fewer weights than there are samples"
        )
    return largest / smallest


def _rows(trial: Trial, inputs: Tensor, of: list[torch.nn.Parameter]) -> Tensor:
    """J [N, P] of inputs [N, ...]."""
    outputs = trial.outputs(inputs)
    if not outputs.dim() or len(outputs) != len(inputs):
        raise SupernetError(
            f"ntk: {len(inputs)} samples give outputs of shape {tuple(outputs.shape)}, not one row each"
        )
    rows = []
    for n in range(len(outputs)):
        grads = torch.autograd.grad(outputs[n].sum(), of, retain_graph=True, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([g.flatten() for g in grads]))
    return torch.stack(rows)
