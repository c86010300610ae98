"""How undecided a space is: the entropy of its mixing weights read as a distribution over its points.

H = - sum_g P(g) log P(g) = sum_d reach(d) H(p_d)        in nats; reach is the path product in front of decision d
"""
# E edges, O operations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..space.reach import reach
from ..space.space import Space

__all__ = ["entropies"]


@torch.no_grad()
def entropies(space: Space, mixing: Mapping[str, Tensor]) -> tuple[float, dict[str, float]]:
    """(H of the whole, mean entropy of a row of each table) for mixing weights [E, O] by table."""
    open_ = reach(space, mixing)
    rows_E = {table.name: torch.special.entr(mixing[table.name]).sum(-1) for table in space.tables}
    whole = sum(float(open_[name] * each_E.sum()) for name, each_E in rows_E.items())
    return whole, {name: float(each_E.mean()) for name, each_E in rows_E.items()}
