"""Operations go by how sharply their outputs would move (IS-DARTS; He et al., arXiv:2312.12648; authors' code).

F(o) = mean over samples, channels and places of 3 (o - mu)^2 / sigma^6      mu, sigma^2 over the channels of a place
     = 3 (C - 1) / C  mean over samples and places of sigma^-4               sigma^2 with C - 1
cut i of `cuts`, at epoch first + i every:   of each node  ceil((left - stay) / (cuts - i))  (edge, operation) go,
                                             those with the largest F; one that is not finite counts as infinite

No alpha is read: p = m / O (relaxation `uniform`). F is taken over the weights' part, by each batch's own statistics,
and averaged over the cells of a kind. `stay` is how many inputs a node of the space takes; where it takes all, each
edge is cut by itself down to one operation. The authors' node may end with two operations of one edge, which is no
point of the spaces here: so the last operation of an edge stays where the node needs it. `none` has no outputs, its F
is infinite; where a space never chooses it, it is counted as gone with the first cut and stands for an edge that has
lost all others. NAS-Bench-201 in their script: 30 epochs, first 22, every 2, cuts 4.
"""
# B samples, C channels, H height, W width, E edges, O operations

import math
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from ...config import SearchConfig
from ...errors import SupernetError
from ...network import Supernet
from ...network.connector import EdgeSite
from ...network.mixture import HostMask
from ...space import Space, Table
from ..edges import NONE, columns_left, nodes, taken_rows, without
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import Mask, Verdict

__all__ = ["Fisher", "Meter", "cut", "importance"]

Place = tuple[str, int, int]  # table, row, column


@WATCHERS.register("fisher")
class Fisher(Watcher):
    """`first` is an epoch counted from 0; `batches` of the weights' part are measured, 0: all.

    What is not cut by the last epoch of the search is cut then.
    """

    def __init__(self, first: int = 29, every: int = 3, cuts: int = 7, batches: int = 0) -> None:
        super().__init__()
        for name, value, least in (
            ("first", first, 0),
            ("every", every, 1),
            ("cuts", cuts, 1),
            ("batches", batches, 0),
        ):
            if value < least:
                raise SupernetError(f"fisher: {name}={value} must be {least} or more")
        self.first, self.every, self.cuts, self.batches = first, every, cuts, batches

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space without edges, or one whose edges may lose all and have no `none`."""
        for table in space.tables:
            if table.targets is None:
                raise SupernetError(
                    f"method.watchers=fisher measures what edges give, and the rows of space {space.name!r} are no "
                    "edges; it takes a space of cells"
                )
            none = [NONE in table.columns and row[table.columns.index(NONE)] for row in table.mask]
            if len(taken_rows(space, table)) < table.shape[0] and not all(none):
                raise SupernetError(
                    f"method.watchers=fisher takes edges away, and space {space.name!r} does not offer {NONE!r} on all "
                    f"edges of table {table.name!r}, which would be left of them; add it to the operations"
                )

    def fits(self, config: SearchConfig) -> Sequence[str]:
        """A plan of cuts that the search is too short for is said."""
        last = self.first + (self.cuts - 1) * self.every
        if last < config.epochs:
            return ()
        return (
            f"fisher plans its last cut for epoch {last}, and epochs={config.epochs}: what is left is cut at the end",
        )

    def bind(self, net: Supernet, seed: int) -> None:
        """Raises SupernetError for a network without mixed edges, whose outputs cannot be observed."""
        with net.observing(Meter()):
            pass

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """What is left after a cut, in the epochs that have one."""
        turn, rest = divmod(look.clock.epoch - self.first, self.every)
        if look.last:
            turn = self.cuts - 1
        elif rest or not 0 <= turn < self.cuts:
            return ()
        values, masks = self.measure(look), look.net.masks()
        return (Mask({t.name: cut(look.net.space, t, masks, values, turn, self.cuts) for t in look.net.space.tables}),)

    def measure(self, look: Look) -> dict[Place, float]:
        """F of each operation that runs and has outputs."""
        meter, batches = Meter(), list(islice(look.loaders("train"), self.batches or None))
        with look.net.observing(meter):
            look.measure(None, batches, batch_statistics=True)
        places = list(meter.sums)
        sums = [meter.sums[place] for place in places]
        counts = [torch.full_like(total, meter.counts[place]) for place, total in zip(places, sums, strict=True)]
        (first,) = islice(look.loaders("train"), 1)
        if (reduce := look.problem(first, first).reduce) is not None:
            reduce([*sums, *counts])
        columns = {table.name: table.columns for table in look.net.space.tables}
        return {
            (table, row, columns[table].index(name)): float(total / count)
            for (table, row, name), total, count in zip(places, sums, counts, strict=True)
        }


class Meter:
    """An observer that adds up the importance of all that runs, by (table, row, operation)."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, int, str], Tensor] = {}  # scalars
        self.counts: dict[tuple[str, int, str], int] = {}

    def observe(self, edge: EdgeSite, outputs: Mapping[str, Tensor]) -> None:
        """Adds the samples of `outputs` [B, C, H, W]."""
        for name, y in outputs.items():
            place, values = (edge.table, edge.row, name), importance(y.detach())
            self.sums[place] = self.sums.get(place, 0) + values.sum()
            self.counts[place] = self.counts.get(place, 0) + len(values)


def importance(y: Tensor) -> Tensor:
    """F of each sample [B] of outputs `y` [B, C, H, W], in double precision; infinite for a single channel."""
    channels = y.shape[1]
    if channels == 1:
        return torch.full((len(y),), math.inf, dtype=torch.float64, device=y.device)
    variance = y.double().var(dim=1)  # with C - 1
    return 3 * (channels - 1) / channels * variance.pow(-2).flatten(1).mean(dim=1)


def cut(
    space: Space, table: Table, masks: Mapping[str, HostMask], values: Mapping[Place, float], turn: int, cuts: int
) -> HostMask:
    """The mask [E][O] of a table after cut `turn`, counted from 0, of `cuts`."""
    columns, taken = columns_left(space, table, masks), taken_rows(space, table)
    gone: list[tuple[int, int]] = []
    together = len(taken) < table.shape[0]
    for rows in nodes(table).values() if together else ([row] for row in range(table.shape[0])):
        stay = len(taken & set(rows)) if together else 1
        many = sum(sum(table.mask[row]) for row in rows)
        for number in range(turn + 1):
            many -= math.ceil((many - stay) / (cuts - number))
        pool = [(row, column) for row in rows for column in columns[row]]
        for place in sorted(pool, key=lambda place: -_finite(values.get((table.name, *place), math.inf))):
            others = {row for row, column in pool if (row, column) != place}
            if len(pool) > many and len(others) >= stay:
                pool.remove(place)
                gone.append(place)
    return without(masks[table.name], gone)


def _finite(value: float) -> float:
    return math.inf if math.isnan(value) else value
