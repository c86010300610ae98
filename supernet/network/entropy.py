"""How undecided a space is: the entropy of its mixing weights read as a distribution over its points.

H = - sum_g P(g) log P(g) = sum_d reach(d) H(p_d)        in nats; reach is the path product in front of decision d
"""
# E edges, O operations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..space.reach import reach
from ..space.space import Space

__all__ = ["entropies", "mean_entropy"]


@torch.no_grad()
def entropies(space: Space, mixing: Mapping[str, Tensor]) -> tuple[float, dict[str, float]]:
    """(H of the whole, mean entropy of a row of each table) for mixing weights [E, O] by table."""
    open_ = reach(space, mixing)
    # Of their sizes: some methods have weights of either sign.
    rows_E = {table.name: torch.special.entr(mixing[table.name].abs()).sum(-1) for table in space.tables}
    whole = sum(float(open_[name] * each_E.sum()) for name, each_E in rows_E.items())
    return whole, {name: float(each_E.mean()) for name, each_E in rows_E.items()}


@torch.no_grad()
def mean_entropy(space: Space, mixing: Mapping[str, Tensor]) -> tuple[float, dict[str, float]]:
    """(mean entropy of a row, of all tables; that of each table) for mixing weights [E, O] by table.

    Rows of decisions that are nested count as often as they are open, so that the first is H by the rows there are.
    """
    open_ = reach(space, mixing)
    whole, each = entropies(space, mixing)
    rows = sum(float(open_[name]) * len(mixing[name]) for name in each)
    return whole / max(rows, 1e-12), each
