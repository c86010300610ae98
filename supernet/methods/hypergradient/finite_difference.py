"""Second-order hypergradient by finite differences (DARTS, arXiv:1806.09055, equations 7 and 8).

    w'     = w - xi (m b + grad_w L_tr(w, a) + d w)                          virtual step, see problem.py
    v      = grad_w' L_val(w', a),   eps = r / ||v||,   w+- = w +- eps v
    result = grad_a L_val(w', a) - xi [grad_a L_tr(w+, a) - grad_a L_tr(w-, a)] / (2 eps)

Where the training loss is smooth between w- and w+ the error of the second term is of the order r^2. Networks with ReLU
and max pooling are not: there the difference also counts the kinks that lie between, and at the authors' r on a small
DARTS network it was 5 to 8 times the exact term (`exact.py`). Their own code gives the same number, to 1e-14; methods
that lean on it have been measured with it.
"""

import torch

from ...errors import SupernetError
from ...network.freezing import frozen
from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem

__all__ = ["FiniteDifference"]


@HYPERGRADIENTS.register("finite_difference")
class FiniteDifference(Hypergradient):
    """`r` is the length of the step to either side; .01 is the authors' value."""

    uses_training_batch = True
    traits = frozenset({"learns alphas"})

    def __init__(self, r: float = 1e-2) -> None:
        super().__init__()
        if r <= 0:
            raise SupernetError(f"finite_difference: r={r} must be above 0")
        self.r = r

    def forward(self, problem: Problem) -> Estimate:
        direct, v, loss = problem.behind_virtual_step()
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(v)))
        eps = self.r / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                beside = torch._foreach_add(list(problem.weights), torch._foreach_mul(v, sign * eps))
            with problem.at(beside), frozen(problem.weights):
                sides.append(problem.gradient(problem.loss("train"), problem.alphas))
        implicit = [-problem.lr * (plus - minus) / (2 * eps) for plus, minus in zip(*sides, strict=True)]
        return Estimate(direct, implicit, loss)
