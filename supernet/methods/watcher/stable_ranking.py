"""A stop where the alphas have made up their minds (DARTS+; Liang et al., arXiv:1909.06035).

r(e) = order of the operations with weights on each edge, by p, in epoch e
stop where r(e - epochs) = ... = r(e); the result is the genotype of that epoch

Operations with weights of their own compete with each other; once their order holds still, longer training only lets
the ones without weights grow. Ten epochs are the paper's as recalled, so this is a reconstruction.
"""
# E edges, O operations, W operations that have weights

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network import Supernet
from ...space import Table
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import Stop, Verdict

__all__ = ["StableRanking", "ranking"]

SKIP = "skip_connect"  # where the size is halved it has weights, and still is a skip


@WATCHERS.register("stable_ranking")
class StableRanking(Watcher):
    """`epochs` is how many times in a row the ranking must be that of the epoch before, 1 or more.

    A new phase begins to count anew: rows or weights may be others there. Epochs in which no alpha learns do not count.
    """

    traits = frozenset({"stops"})
    unchanged: Tensor
    phase: Tensor

    def __init__(self, epochs: int = 10) -> None:
        super().__init__()
        if epochs < 1:
            raise SupernetError(f"stable_ranking: epochs={epochs} must be 1 or more")
        self.epochs = epochs
        self.register_buffer("unchanged", torch.zeros((), dtype=torch.int64))
        self.register_buffer("phase", torch.full((), -1, dtype=torch.int64))
        self.before = nn.Module()  # a buffer [E, W] a table: the ranking of the epoch before
        self._columns: dict[str, list[int]] = {}

    def bind(self, net: Supernet, seed: int) -> None:
        """Looks which columns have weights; raises SupernetError where fewer than two of every table do."""
        self._columns = {table.name: _with_weights(net, table) for table in net.space.tables}
        self._columns = {name: columns for name, columns in self._columns.items() if len(columns) > 1}
        if not self._columns:
            raise SupernetError(
                "method.watchers=stable_ranking ranks operations that have weights of their own, and space "
                f"{net.space.name!r} does not offer two of them in any table"
            )
        for table in net.space.tables:
            if columns := self._columns.get(table.name):
                shape = table.shape[0], len(columns)
                self.before.register_buffer(table.name, torch.full(shape, -1, dtype=torch.int64))

    def end_epoch(self, look: Look) -> Mapping[str, float]:
        """For how many epochs the ranking has held still."""
        strengths, same = look.net.strengths(), int(self.phase) == look.clock.phase and "alphas" in look.learns
        for name, columns in self._columns.items():
            now = torch.tensor(ranking(strengths[name], columns))
            before = self.before.get_buffer(name)
            same = same and torch.equal(before.cpu(), now)
            before.copy_(now)
        self.phase.fill_(look.clock.phase)
        self.unchanged.copy_(self.unchanged + 1 if same else torch.zeros_like(self.unchanged))
        return {"ranking_unchanged": float(self.unchanged)}

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """A stop with the present genotype."""
        return (Stop(look.genotype),) if int(self.unchanged) >= self.epochs else ()


def ranking(strengths: Sequence[Sequence[float]], columns: Sequence[int]) -> list[list[int]]:
    """Of each row of strengths [E][O] the `columns`, the strongest first; of equals the first of them."""
    return [sorted(columns, key=lambda column: -row[column]) for row in strengths]


def _with_weights(net: Supernet, table: Table) -> list[int]:
    """The columns of a table that have weights wherever they stand, skips left out."""
    sites = [site for site, name in enumerate(net.sites) if name == table.name]
    rows = {o: [e for e, row in enumerate(table.mask) if row[o]] for o in range(table.shape[1])}
    return [
        column
        for column, name in enumerate(table.columns)
        if name != SKIP
        and rows[column]
        and all(net.parameters_of(site, row, column) for site in sites for row in rows[column])
    ]
