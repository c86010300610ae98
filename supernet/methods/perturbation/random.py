"""Random noise on the mixing weights while weights learn (SDARTS-RS; Chen and Hsieh, arXiv:2002.05283, section 3.1).

p + delta,   delta ~ U(-eps, eps) for each number,   eps = `eps` + (`eps_end` - `eps`) e / T in epoch e of T

The weights learn to do without exact mixing weights, which smooths the validation loss around the alphas. One delta a
table and step, shared by its cells; the alphas' half sees p itself. `eps_end` is what an epoch after the last would
have, as in the authors' code.
"""
# E edges, O operations

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ...network.mixture import Mixture
from ..noise import Noise
from ..part import Clock
from ..parts import PERTURBATIONS, Perturbation
from ..problem import Problem

__all__ = ["Random"]


@PERTURBATIONS.register("random")
class Random(Perturbation):
    """`eps` and `eps_end` are 0 or more; .03 and .3 are the authors'."""

    eps: Tensor
    traits = frozenset({"noise on p"})

    def __init__(self, eps: float = 0.03, eps_end: float = 0.3) -> None:
        super().__init__()
        for name, value in (("eps", eps), ("eps_end", eps_end)):
            if value < 0:
                raise SupernetError(f"perturbation random: {name}={value} must be 0 or more")
        self.first, self.last = float(eps), float(eps_end)
        self.register_buffer("eps", torch.tensor(self.first), persistent=False)
        self._bound: list[tuple[Supernet, Noise]] = []  # in a list: neither is a part of this module

    def bind(self, net: Supernet, seed: int) -> None:
        self._bound = [(net, Noise(net.space.tables, seed, net.alphas()[0]))]
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        self.eps.fill_(self.first + (self.last - self.first) * clock.epoch / clock.epochs)
        ((_, noise),) = self._bound
        noise.fill(lambda uniform: 2 * uniform - 1, clock.step, "perturbation")

    def forward(self, problem: Problem) -> Mixture:
        """The mixture of this half with noise on every p [E, O] that has an option there."""
        assert problem.mixture is not None
        ((net, noise),) = self._bound
        mixture = problem.mixture()
        deltas = {}
        for table in net.space.tables:
            delta_EO = self.eps * noise.of("weights", table.name)
            absent = net.options.absent(table.name)
            deltas[table.name] = delta_EO if absent is None else delta_EO.masked_fill(absent, 0.0)
        p = (
            p + deltas[site].to(p.dtype) if site in deltas else p for site, p in zip(net.sites, mixture.p, strict=True)
        )
        return mixture._replace(p=tuple(p))
