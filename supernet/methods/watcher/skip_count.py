"""How many skips the genotype takes, and a stop where they are too many (DARTS+; Liang et al., arXiv:1909.06035).

n = skips in the cell of one table;     stop where n >= stop_at; the result is the genotype of that epoch

Skips win late in a search, when the weights they pass on have been learned: their number tells a collapse before the
accuracy of the supernet does. The criterion of 2 skips in a normal cell is that of the paper's abstract and recalled
text, so this is a reconstruction. Alphas that have hardly moved may show 2 skips by chance, which is why nothing is
stopped before epoch `first`, nor in a warm-up; that is ours.
"""

from collections.abc import Mapping, Sequence

from ...errors import SupernetError
from ...space import Genotype, Space
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import Stop, Verdict

__all__ = ["SkipCount"]

SKIP = "skip_connect"


@WATCHERS.register("skip_count")
class SkipCount(Watcher):
    """`stop_at` 0 only counts. `table` None counts in all tables together; `first` is an epoch, counted from 0."""

    def __init__(self, stop_at: int = 0, table: str | None = None, first: int = 10) -> None:
        super().__init__()
        for name, value in (("stop_at", stop_at), ("first", first)):
            if value < 0:
                raise SupernetError(f"skip_count: {name}={value} must be 0 or more")
        self.stop_at, self.table, self.first = stop_at, table, first
        self.traits = frozenset({"counts skips", "stops"} if stop_at else {"counts skips"})

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space without such a table, or without skips in it."""
        columns = {table.name: table.columns for table in space.tables if self.table in (None, table.name)}
        if not any(SKIP in names for names in columns.values()):
            where = "" if self.table is None else f" in table {self.table!r}"
            raise SupernetError(
                f"method.watchers=skip_count counts {SKIP}{where}, which space {space.name!r} does not have; its "
                f"tables: {', '.join(sorted(table.name for table in space.tables)[:8])}"
            )

    def end_epoch(self, look: Look) -> Mapping[str, float]:
        """The number of skips."""
        return {"skip_count": float(self.count(look.net.space, look.genotype))}

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """A stop with the present genotype."""
        if not self.stop_at or look.clock.epoch < self.first or "alphas" not in look.learns:
            return ()
        return (Stop(look.genotype),) if self.count(look.net.space, look.genotype) >= self.stop_at else ()

    def count(self, space: Space, genotype: Genotype) -> int:
        """How many rows of the table take a skip in this genotype."""
        active = space.active(genotype)
        columns = {table.name: table.columns for table in space.tables if self.table in (None, table.name)}
        return sum(names[column] == SKIP for name, names in columns.items() for _, column in active[name])
