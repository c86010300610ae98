"""Edges are decided one by one during the search (SGAS; Li et al., arXiv:1912.00195, section 3.2; authors' code).

every `every` epochs from `first` on, of the open edges of each kind of cell:
    importance   I_e = sum of p[e, o] over operations but none
    certainty    C_e = 1 - entropy(p[e, o] / I_e over operations but none) / log(their number)
    stability    S_e = mean over the last `history` epochs of sum_o min(q_then, q_now),  q = p / I
    score        norm(I) norm(C), with `history` also norm(S);     norm(x) = (x - min x) / (max x - min x), all edges
    the edge with the highest score keeps its strongest operation;  a node that has its inputs loses the other edges

What is decided early is trained longer as it will be evaluated, so the gap at the end is smaller. Criterion 1 of the
paper is `history` 0, criterion 2 is 4. The authors raise the batch size by 8 with each decision, as memory allows;
here it stays. Edges that a node loses run no more where the space has `none`, which is left of them; elsewhere they run
on and are not taken. A factor that is alike for all edges is left out, such as I in spaces without `none`; the authors
take 0 there, so that nothing would decide. Tables of one row each are compared with each other, since each is one edge.
"""
# E edges, O operations, K epochs of history, W operations but none

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...config import SearchConfig
from ...errors import SupernetError
from ...network import Supernet
from ...space import Space, Table
from ..edges import NONE, columns_left, nodes, strongest_column, taken_rows
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import FixEdge, Mask, Verdict

__all__ = ["GreedyEdges", "scores"]

ROUNDING = 1e-5  # sums of rows in single precision differ by less where they are alike
Place = tuple[Table, int]
Numbers = NDArray[np.float64]


@WATCHERS.register("greedy_edges")
class GreedyEdges(Watcher):
    """`first` is an epoch counted from 0, `every` 1 or more epochs, `history` how many earlier epochs are compared."""

    seen: Tensor
    traits = frozenset({"fixes edges"})

    def __init__(self, first: int = 9, every: int = 5, history: int = 0) -> None:
        super().__init__()
        if every < 1:
            raise SupernetError(f"greedy_edges: every={every} must be 1 or more")
        for name, value in (("first", first), ("history", history)):
            if value < 0:
                raise SupernetError(f"greedy_edges: {name}={value} must be 0 or more")
        self.first, self.every, self.most = first, every, history
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.history = nn.Module()  # a buffer [K, E, O] a table, the newest epoch last

    def fits(self, config: SearchConfig) -> Sequence[str]:
        """Raises SupernetError where the search ends before the first decision."""
        if self.first >= config.epochs:
            raise SupernetError(
                f"method.watchers=greedy_edges decides from epoch first={self.first} on, and epochs={config.epochs}: "
                "no edge would be decided; take a smaller `first`"
            )
        return ()

    def bind(self, net: Supernet, seed: int) -> None:
        """Makes room for the mixing weights of earlier epochs."""
        for table in net.space.tables if self.most else ():
            self.history.register_buffer(table.name, torch.zeros(self.most, *table.shape, dtype=torch.float64))

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The edge that is decided, of each kind of cell, and the edges that its node loses."""
        if "alphas" not in look.learns:
            return ()
        strengths = look.net.strengths()
        p = {name: np.array(rows) for name, rows in strengths.items()}
        scored = [(places, self._scores(places, p)) for places in _kinds(look.net.space)]
        self._remember(p)
        if look.clock.epoch < self.first or (look.clock.epoch - self.first) % self.every:
            return ()
        left = {table.name: columns_left(look.net.space, table, look.net.masks()) for table in look.net.space.tables}
        verdicts: list[Verdict] = []
        for places, score in scored:
            free = [number for number, (table, row) in enumerate(places) if len(left[table.name][row]) > 1]
            if not free:
                continue
            table, row = places[max(free, key=lambda number: score[number])]
            column = strongest_column(strengths, table.name, row, left[table.name][row])
            left[table.name][row] = [column]
            verdicts.append(FixEdge(table.name, row, column))
            if rest := _lost(look, table, left[table.name]):
                verdicts.append(rest)
        return verdicts

    def _scores(self, places: Sequence[Place], p: Mapping[str, Numbers]) -> Numbers:
        """[len(places)]"""
        before = [
            np.array([self.history.get_buffer(table.name)[age, row].cpu().numpy() for age in self._ages])
            for table, row in places
            if self.most
        ]
        return scores([(p[table.name][row], table.columns) for table, row in places], before or None)

    @property
    def _ages(self) -> range:
        return range(self.most - min(int(self.seen), self.most), self.most)

    def _remember(self, p: Mapping[str, Numbers]) -> None:
        for name, buffer in self.history.named_buffers():
            buffer.copy_(torch.cat([buffer[1:], torch.from_numpy(p[name])[None].to(buffer)]))
        self.seen += 1


def scores(rows: Sequence[tuple[Numbers, Sequence[str]]], before: Sequence[Numbers] | None = None) -> Numbers:
    """The score [E] of edges that are given as (p [O], names of the columns).

    `before` has p [K, O] of the epochs before for each of them; None leaves the stability out.
    """
    importance, certainty, stability = [], [], []
    for number, (p, columns) in enumerate(rows):
        real = [column for column, name in enumerate(columns) if name != NONE]
        q = _share(p, real)
        importance.append(p[real].sum())
        entropy = -(q[q > 0] * np.log(q[q > 0])).sum()
        certainty.append(1 - entropy / math.log(len(real)) if len(real) > 1 else 1.0)
        if before is not None:
            common = [np.minimum(_share(then, real), q).sum() for then in before[number]]
            stability.append(sum(common) / len(common) if common else 0.0)
    score = _norm(np.array(importance)) * _norm(np.array(certainty))
    return score if before is None else score * _norm(np.array(stability))


def _share(p: Numbers, columns: Sequence[int]) -> Numbers:
    """p [O] over some columns alone, summing to 1: [W]; even where all are 0."""
    total = p[columns].sum()
    return p[columns] / total if total else np.full(len(columns), 1 / max(len(columns), 1))


def _norm(x: Numbers) -> Numbers:
    """[E] brought to 0 .. 1; ones where all are alike."""
    spread = x.max() - x.min()
    return (x - x.min()) / spread if spread > ROUNDING else np.ones_like(x)


def _kinds(space: Space) -> list[list[Place]]:
    """The (table, row) that are compared with each other."""
    single = [(table, 0) for table in space.tables if table.shape[0] == 1]
    several = [[(table, row) for row in range(table.shape[0])] for table in space.tables if table.shape[0] > 1]
    return [*several, *([single] if single else [])]


def _lost(look: Look, table: Table, left: Sequence[Sequence[int]]) -> Mask | None:
    """The mask that leaves `none` of the edges that decided nodes do not take; None where there are no such edges."""
    if table.targets is None or NONE not in table.columns:
        return None
    decided = [row for row, columns in enumerate(left) if len(columns) == 1]
    taken = taken_rows(look.net.space, table, decided)
    none, mask = table.columns.index(NONE), [list(row) for row in look.net.masks()[table.name]]
    lost = [
        row
        for rows in nodes(table).values()
        if all(row in decided for row in rows if row in taken)
        for row in rows
        if row not in taken and mask[row][none]
    ]
    for row in lost:
        mask[row] = [column == none for column in range(len(mask[row]))]
    return Mask({table.name: tuple(map(tuple, mask))}) if lost else None
