"""Splits of a supernet where operations pull its weights apart (GM-NAS; Hu et al., arXiv:2203.15207; authors' code).

for each edge:  d(o, o') = mean over batches of 1 - cos(g_o, g_o')
                g_o: gradient of L_train by the weights that do not belong to the edge, where it runs o alone
                the bipartition of its operations with the least sum of d within its groups; cut = sum of d across
one edge, that with the largest or the smallest cut, is split: two supernets, one for each group;   `splits` edges

What shares weights should agree on them. With all leaves of that tree there are 2^splits children, each of which starts
from the parent and trains for the epochs that are left; the best by the validation metric decides. The authors split
at several moments (DARTS cells: epochs 2, 4 and 6, NAS-Bench-201: 15 and 30), take the smallest cut for DARTS cells and
the largest for NAS-Bench-201, and search the best child's operations once more from the start. Here all splits are
decided at one moment, each with the parent's weights under the masks so far, and there is no last search.
"""
# O operations, W numbers of the weights that are shared

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import SupernetError
from ...network.freezing import frozen, frozen_statistics
from ...network.mixture import HostMask, Mixture
from ...space import Table
from ..edges import columns_left, without
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..phase import Phase
from ..verdict import Enter, Verdict

__all__ = ["GradientMatching", "bipartition", "distances"]

Masks: TypeAlias = dict[str, HostMask]
Groups: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
PAIR = 4  # operations from which on each group has two or more


@WATCHERS.register("gradient_matching")
class GradientMatching(Watcher):
    """`at` in (0, 1) is the share of a search behind which it splits; `largest` says which cut is taken."""

    done: Tensor
    traits = frozenset({"splits"})

    def __init__(self, at: float = 0.12, splits: int = 3, batches: int = 100, largest: bool = False) -> None:
        super().__init__()
        if not 0 < at < 1:
            raise SupernetError(f"gradient_matching: at={at} must lie in (0, 1)")
        for name, value in (("splits", splits), ("batches", batches)):
            if value < 1:
                raise SupernetError(f"gradient_matching: {name}={value} must be 1 or more")
        self.at, self.splits, self.batches, self.largest = at, splits, batches, largest
        self.register_buffer("done", torch.zeros((), dtype=torch.bool))  # children take it over from their parent

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The children, once."""
        left = look.clock.epochs - (look.clock.epoch + 1)
        early = look.clock.epoch + 1 < self.at * look.clock.epochs or "alphas" not in look.learns
        if bool(self.done) or left < 1 or early:
            return ()
        self.done.fill_(True)
        masks = {table.name: look.net.masks()[table.name] for table in look.net.space.tables}
        leaves = list(self._split(look, masks, self.splits))
        if len(leaves) < 2:
            return ()
        return (Enter(tuple(Phase(left, masks=leaf, starts_from="parent") for leaf in leaves)),)

    def _split(
        self, look: Look, masks: Masks, more: int, split: frozenset[tuple[str, int]] = frozenset()
    ) -> Iterator[Masks]:
        """The masks of all children of a supernet under `masks`; the edges that are `split` are not split again."""
        best = self._best(look, masks, split) if more else None
        if best is None:
            yield masks
            return
        table, row, groups = best
        for gone in reversed(groups):
            child = {**masks, table.name: without(masks[table.name], [(row, column) for column in gone])}
            yield from self._split(look, child, more - 1, split | {(table.name, row)})

    def _best(self, look: Look, masks: Masks, split: frozenset[tuple[str, int]]) -> tuple[Table, int, Groups] | None:
        """The edge that is split next and its groups; None where no other edge has two operations left."""
        cuts: list[tuple[float, tuple[Table, int, Groups]]] = []
        for table in look.net.space.tables:
            if table.name not in look.net.sites:
                continue  # a small network may have no cell of a kind
            for row, columns in enumerate(columns_left(look.net.space, table, masks)):
                if len(columns) > 1 and (table.name, row) not in split:
                    cut, groups = bipartition(distances(look, masks, table, row, columns, self.batches))
                    one, other = (tuple(columns[place] for place in group) for group in groups)
                    cuts.append((cut, (table, row, (one, other))))
        if not cuts:
            return None
        return (max if self.largest else min)(cuts, key=lambda cut: cut[0])[1]


def bipartition(distance_OO: NDArray[np.float64]) -> tuple[float, Groups]:
    """(sum of the distances across, both groups) of the split with the least sum of distances within its groups.

    Groups have two or more members where there are four or more, and the first has member 0; of equals the first.
    """
    members = range(len(distance_OO))
    least = 2 if len(members) >= PAIR else 1
    splits: list[tuple[float, Groups]] = []
    for size in range(least, len(members) - least + 1):
        for rest in combinations(members[1:], size - 1):
            one = (0, *rest)
            other = tuple(member for member in members if member not in one)
            splits.append((float(distance_OO[np.ix_(one, other)].sum()), (one, other)))
    return max(splits, key=lambda split: split[0])  # all of them less the least within the groups


def distances(
    look: Look, masks: Mapping[str, HostMask], table: Table, row: int, columns: Sequence[int], batches: int
) -> NDArray[np.float64]:
    """d [O, O] between the operations `columns` of one row under `masks`, over `batches` of the weights' part."""
    sites = [site for site, name in enumerate(look.net.sites) if name == table.name]
    own = {
        id(w)
        for site in sites
        for column, exists in enumerate(table.mask[row])
        if exists
        for w in look.net.parameters_of(site, row, column)
    }
    total, taken = np.zeros((len(columns), len(columns))), 0
    mixtures = [_alone(look, masks, table, row, column) for column in columns]
    for batch in islice(look.loaders("train"), batches):
        problem = look.problem(batch, batch)
        shared = [w for w in problem.weights if id(w) not in own]
        with frozen_statistics(look.net), frozen(problem.alphas):
            rows = [_flat(problem.gradient(problem.loss("train", m), shared)) for m in mixtures]
        gradients_OW = torch.nn.functional.normalize(torch.stack(rows).double(), dim=1)
        total += 1 - (gradients_OW @ gradients_OW.T).cpu().numpy()
        taken += 1
    return total / max(taken, 1)


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])


def _alone(look: Look, masks: Mapping[str, HostMask], table: Table, row: int, column: int) -> Mixture:
    """The mixture of the alphas under `masks` in which one row has the weight 1 on one option, and that runs alone."""
    p = {}
    gates = dict(masks)
    for name, value in look.net.mixing().items():
        mask = masks.get(name)
        p[name] = value.detach().clone()
        if mask is not None:
            p[name] *= torch.tensor(mask, device=value.device)
            p[name] /= p[name].sum(dim=-1, keepdim=True).clamp_min(torch.finfo(value.dtype).tiny)
    p[table.name][row] = 0
    p[table.name][row, column] = 1
    rows = [list(runs) for runs in masks[table.name]]
    rows[row] = [other == column for other in range(table.shape[1])]
    gates[table.name] = tuple(map(tuple, rows))
    return look.net.mixture(p, gates)
