"""Each operation exactly once a step (FairNAS; Chu, Zhang and Xu, arXiv:1907.01845, section 3.3).

pi[e] ~ uniform permutation of the options of row e
the weights' half adds up the gradients of passes k = 1 .. O, whose path takes pi[e](k) on row e, and steps once

Single paths that are drawn one by one leave some operations behind by chance; here all have learned equally often after
every step. There are no alphas: the architecture is searched on the weights afterwards. A row with fewer options than
others runs them again in the same order.

A reconstruction: the authors' code of the training is not public.
"""
# E edges, O operations

import torch
from torch import Tensor

from ...network import Supernet
from ..parts import SAMPLERS, Sampler

__all__ = ["Fair"]


@SAMPLERS.register("fair")
class Fair(Sampler):
    """As many passes a step as the longest row has options; a path for all cells of a table."""

    traits = frozenset({"one path", "random draws", "draws without alphas", "several passes"})

    def bind(self, net: Supernet, seed: int) -> None:
        """Counts the passes."""
        self.passes = max(sum(row) for table in net.space.tables for row in table.mask)

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(weights [E, O] of 0 and 1, their gate [E, O]) of the present pass."""
        there = torch.isfinite(alpha_EO)
        order = noise_EO.masked_fill(~there, -1.0).argsort(dim=-1, descending=True)  # what is not there comes last
        turn = self.number % there.sum(-1, keepdim=True)
        gate = torch.zeros_like(there).scatter_(-1, order.gather(-1, turn), True)
        return gate.to(p_EO.dtype), gate
