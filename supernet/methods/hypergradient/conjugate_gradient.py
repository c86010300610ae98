"""Implicit hypergradient by conjugate gradients (Pedregosa, arXiv:1602.02355; Rajeswaran et al., arXiv:1909.04630).

v      = grad_w L_val(w, a),   (H + damping I) s = v  solved by `steps` of conjugate gradients,   H = d^2 L_train / dw^2
result = grad_a L_val(w, a) - (dg/da)^T s,   g = grad_w L_train

The response of weights that are the best ones to a change of the alphas, without the many terms that a Neumann series
(neumann.py) takes. H is met through differences of gradients alone. In a network H has negative directions too, where
conjugate gradients have no minimum to find: the damping moves them up, and the solver stops at the first that is left.
Where v itself is one, s = eta v with eta the rate of the weights, the first term of a Neumann series.
"""

import torch
from torch import Tensor

from ...errors import SupernetError
from ..parts import HYPERGRADIENTS, Hypergradient
from ..problem import Estimate, Problem
from ..response import curved, responded

__all__ = ["ConjugateGradient"]


@HYPERGRADIENTS.register("conjugate_gradient")
class ConjugateGradient(Hypergradient):
    """`steps` is 1 or more, `damping` 0 or more; `r`, above 0, the length of the steps of the differences.

    Costs one pass of the validation batch with all gradients, two of the training batch a step, and two more.
    """

    uses_training_batch = True
    traits = frozenset({"learns alphas", "second derivatives"})

    def __init__(self, steps: int = 5, damping: float = 0.1, r: float = 1e-2) -> None:
        super().__init__()
        if steps < 1:
            raise SupernetError(f"conjugate_gradient: steps={steps} must be 1 or more")
        if damping < 0:
            raise SupernetError(f"conjugate_gradient: damping={damping} must be 0 or more")
        if r <= 0:
            raise SupernetError(f"conjugate_gradient: r={r} must be above 0")
        self.steps, self.damping, self.r = steps, damping, r

    def forward(self, problem: Problem) -> Estimate:
        loss = problem.loss("val")
        both = problem.gradient(loss, [*problem.alphas, *problem.weights])
        direct, v = both[: len(problem.alphas)], both[len(problem.alphas) :]
        implicit = [-g for g in responded(problem, self._solved(problem, v), self.r)]
        return Estimate(direct, implicit, loss.detach())

    def _solved(self, problem: Problem, v: list[Tensor]) -> list[Tensor]:
        """s of (H + damping I) s = v, in the shapes of the weights; nothing is read by the host."""
        s = [torch.zeros_like(w) for w in v]
        residual, towards, square = v, v, _dot(v, v)
        for number in range(self.steps):
            bent = torch._foreach_add(curved(problem, towards, self.r), towards, alpha=self.damping)
            bend = _dot(list(towards), list(bent))
            goes = (bend > 0) & (square > 0)
            step = torch.where(goes, square / torch.where(goes, bend, 1), 0)
            length = torch.where(goes, step, problem.lr) if number == 0 else step
            s = list(torch._foreach_add(s, torch._foreach_mul(towards, length)))
            residual = list(torch._foreach_sub(residual, torch._foreach_mul(bent, step)))
            before, square = square, torch.where(goes, _dot(residual, residual), 0)
            ratio = square / torch.where(goes, before, 1)
            towards = list(torch._foreach_add(residual, torch._foreach_mul(towards, ratio)))
        return s


def _dot(one: list[Tensor], other: list[Tensor]) -> Tensor:
    return torch.stack([torch.sum(a * b) for a, b in zip(one, other, strict=True)]).sum()
