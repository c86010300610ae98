"""What the network is expected to cost, as a term of the loss of the alphas.

E = sum_g P(g) cost(g), P of the mixing weights      multilinear in the rows, and exact (supernet/cost/expected.py)

linear    L + weight (E - E_0) / E_0                 ProxylessNAS (arXiv:1812.00332, equation 3); E_0: `reference`
log       L * (log E)^power                          FBNet (arXiv:1812.03443, equation 2)
power     L * (E / E_0)^power                        ProxylessNAS' code, MnasNet (arXiv:1807.11626)

A product is differentiated by both factors, and then divided by the second: dL + L power dE / (E log E), and
dL + L power dE / E. Adam does not see that number, and the weights learn from L alone. Costs are those of the network
with the search's own arguments on images of 32 x 32 pixels: a ratio, so the size of the images hardly counts. For a
sampler E is that of the weights before the draw, so that samplers without a gradient are served too. The authors take
latencies from a table of their phones; FLOPs and parameters are counted here.
"""
# E edges, O operations

import inspect
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ...cost import CostTable, cost_table, expected
from ...errors import SupernetError, unknown
from ...network import Supernet
from ...network.macro import macro_of
from ..parts import REGULARISERS, Regulariser
from ..problem import Problem, gradient

__all__ = ["ExpectedCost"]

Form = Literal["linear", "log", "power"]


@REGULARISERS.register("expected_cost")
class ExpectedCost(Regulariser):
    """`unit` is "flops" or "parameters", `factor` the weight or the power of a form, 0 or more.

    `reference` is E_0 (None: that of equal weights).
    """

    traits = frozenset({"regularises alphas"})

    def __init__(
        self, form: str = "linear", factor: float = 0.1, unit: str = "flops", reference: float | None = None
    ) -> None:
        super().__init__()
        if form not in get_args(Form):
            raise SupernetError(unknown("form of expected_cost", form, get_args(Form)))
        if factor < 0:
            raise SupernetError(f"expected_cost: factor={factor} must be 0 or more")
        if reference is not None and not reference > 0:
            raise SupernetError(f"expected_cost: reference={reference} must be above 0")
        self.form, self.factor, self.unit, self.reference = form, float(factor), unit, reference
        self._bound: list[tuple[Supernet, CostTable]] = []  # in a list: neither is a part of this module

    def bind(self, net: Supernet, seed: int) -> None:
        """Counts what the options cost; raises SupernetError for a unit, or a space, that it cannot count."""
        known = inspect.signature(macro_of(net.space).discrete).parameters
        table = cost_table(
            net.space, self.unit, **{name: value for name, value in net.arguments.items() if name in known}
        )
        self._bound = [(net, table)]
        if self.reference is None:
            there = {t.name: torch.tensor(t.mask, dtype=torch.float64) for t in net.space.tables}
            equal = {name: mask / mask.sum(-1, keepdim=True) for name, mask in there.items()}
            self.reference = float(expected(net.space, equal, table))

    def alphas(self, problem: Problem) -> Sequence[Tensor] | None:
        """The gradient of the term, or of the product less that of the loss, [E, O] a table."""
        assert self.reference is not None
        ((net, table),) = self._bound
        weights = net.mixing()
        shares = {t.name: weights[t.name] / weights[t.name].sum(-1, keepdim=True) for t in net.space.tables}
        cost = expected(net.space, weights | shares, table)
        if self.form == "linear":
            term = self.factor * cost / self.reference
        else:
            assert problem.value is not None
            logarithm = cost.log().log() if self.form == "log" else cost.log()
            term = problem.value.double() * self.factor * logarithm
        return [g.to(a.dtype) for g, a in zip(gradient(term, problem.alphas), problem.alphas, strict=True)]
