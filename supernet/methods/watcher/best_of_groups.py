"""The best operation of each group stays (DOTS; Gu et al., arXiv:2010.01969, section 3.3).

behind the last epoch before the weights are drawn anew, on each edge:   argmax p over the operations without weights,
                                                                         argmax p over those with weights

Both go into the search for the pairs of edges. What a projection never takes, such as `none` in DARTS cells, does not
stay where the group has something else.
"""
# E edges, O operations

from collections.abc import Sequence

from ...network.mixture import HostMask
from ...space import Table
from ...space.space import Strengths
from ..edges import columns_left, strongest_column
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..relaxation.operation_groups import free
from ..verdict import Mask, Verdict

__all__ = ["BestOfGroups", "best_of_groups"]


@WATCHERS.register("best_of_groups")
class BestOfGroups(Watcher):
    """Decides once."""

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The mask with one operation of each group."""
        if look.clock.stage > 0 or look.clock.epoch + 1 < look.clock.epochs:
            return ()
        space, strengths, masks = look.net.space, look.net.strengths(), look.net.masks()
        left = {t.name: best_of_groups(t, strengths, columns_left(space, t, masks)) for t in space.tables}
        return (Mask(left),)


def best_of_groups(table: Table, strengths: Strengths, columns: Sequence[Sequence[int]]) -> HostMask:
    """The mask [E][O] with the strongest of `columns` of each row and group; of equals the first."""
    groups = free(table)
    rows = []
    for row, candidates in enumerate(columns):
        members = [[column for column in candidates if groups[column] is group] for group in (True, False)]
        best = {strongest_column(strengths, table.name, row, some) for some in members if some}
        rows.append(tuple(column in best for column in range(table.shape[1])))
    return tuple(rows)
