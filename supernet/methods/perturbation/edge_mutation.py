"""Edges that run one operation with weights now and then, while weights learn (EM-DARTS; openreview JrhAsf4xNH).

each edge, with probability q(e):   p[row] <- all of its weight on one operation, drawn evenly from those with weights
q(e) goes from `probability` to `probability_end` in a straight line over the epochs

In the mixture an operation learns in the shadow of the others, scaled by its own p; the skip, which needs no training,
looks better than what is behind. An operation that has an edge for itself learns as it will be used. One draw a table
and step, shared by its cells; the alphas' half sees p itself.

A reconstruction from the abstract and a review, which say that the probability rises in the course of a search, not
from where to where.
"""
# E edges, O operations

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...network.mixture import Mixture
from ..noise import Noise
from ..part import Clock
from ..parts import PERTURBATIONS, Perturbation
from ..problem import Problem
from ..ramp import line

__all__ = ["EdgeMutation"]


@PERTURBATIONS.register("edge_mutation")
class EdgeMutation(Perturbation):
    """`probability` and `probability_end` lie in [0, 1]."""

    probability: Tensor
    traits = frozenset({"noise on p"})

    def __init__(self, probability: float = 0.0, probability_end: float = 0.3) -> None:
        super().__init__()
        for name, value in (("probability", probability), ("probability_end", probability_end)):
            if not 0 <= value <= 1:
                raise SupernetError(f"perturbation edge_mutation: {name}={value} must lie in [0, 1]")
        self.first, self.last = float(probability), float(probability_end)
        self.register_buffer("probability", torch.tensor(self.first), persistent=False)
        self.parametric = nn.Module()  # a buffer [E, O] a table: true where some cell's operation has weights
        self._bound: list[tuple[Supernet, Noise]] = []  # in a list: neither is a part of this module

    def bind(self, net: Supernet, seed: int) -> None:
        """Raises SupernetError where no option of the network has weights of its own."""
        like = net.alphas()[0]
        some = False
        for table in net.space.tables:
            sites = [number for number, site in enumerate(net.sites) if site == table.name]
            parametric = torch.tensor(
                [
                    [exists and any(_learns(net, site, row, column) for site in sites)
                     for column, exists in enumerate(options)]
                    for row, options in enumerate(table.mask)
                ]
            )  # fmt: skip
            some = some or bool(parametric.any())
            self.parametric.register_buffer(table.name, parametric.to(like.device), persistent=False)
        if not some:
            raise SupernetError(
                f"method.perturbation=edge_mutation runs one operation with weights, and no option of space "
                f"{net.space.name!r} has weights of its own; leave it out"
            )
        self._bound = [(net, Noise(net.space.tables, seed, like, numbers=2))]
        self.to(like.device)

    def prepare(self, clock: Clock) -> None:
        self.probability.fill_(line(self.first, self.last, clock))
        ((_, noise),) = self._bound
        noise.fill(lambda uniform: uniform, clock.step, "perturbation")

    def forward(self, problem: Problem) -> Mixture:
        """The mixture of this half, in which some rows of p [E, O] have all of their weight on one operation."""
        assert problem.mixture is not None
        ((net, noise),) = self._bound
        mixture = problem.mixture()
        mutants = {table.name: self._mutants(net, noise, table.name) for table in net.space.tables}
        p = []
        for site, p_EO in zip(net.sites, mixture.p, strict=True):
            if site in mutants:
                mutates_E1, one_EO = mutants[site]
                p_EO = torch.where(mutates_E1, one_EO.to(p_EO.dtype) * p_EO.sum(-1, keepdim=True), p_EO)
            p.append(p_EO)
        return mixture._replace(p=tuple(p))

    def _mutants(self, net: Supernet, noise: Noise, table: str) -> tuple[Tensor, Tensor]:
        """(which rows mutate [E, 1], what each would run [E, O] as a one)"""
        numbers, may_EO = noise.of("weights", table), self.parametric.get_buffer(table)
        absent = net.options.absent(table)
        may_EO = may_EO if absent is None else may_EO & ~absent
        keys_EO = numbers[..., 0].masked_fill(~may_EO, -1.0)  # the largest of uniform keys is uniform
        one_EO = torch.zeros_like(may_EO).scatter_(-1, keys_EO.argmax(dim=-1, keepdim=True), True)
        mutates_E1 = (numbers[:, :1, 1] < self.probability) & may_EO.any(dim=-1, keepdim=True)
        return mutates_E1, one_EO


def _learns(net: Supernet, site: int, row: int, column: int) -> bool:
    """Whether an option has weights of its own beside the scales and shifts of norms."""
    return any(w.dim() > 1 for w in net.parameters_of(site, row, column))
