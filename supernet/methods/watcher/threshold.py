"""Operations whose weight falls below a rising threshold go as the search runs (ASAP; Noy et al., arXiv:1904.04123).

o goes where p[e, o] < theta,     theta = theta_0^(1 - s) theta_1^s,   theta_0 = share / O,   s = e / (T - 1)

With a temperature that falls exponentially, s is log(tau_0 / tau) / log(tau_0 / tau_T): the threshold follows the
temperature. theta_1 = 1/2 leaves one operation a row, so nothing is cut behind the last epoch. The strongest operation
of a row that a projection may take stays in any case. Where a node chooses among its edges, each edge also keeps
`none`, or else its second operation: without a rival the weights of all edges would be 1, and nothing could be said
about them. A reconstruction: the paper is not at hand and there is no code of the authors; the form of the threshold
and its constants are ours.
"""
# E edges, O operations

from collections.abc import Mapping, Sequence

from ...errors import SupernetError
from ...network.mixture import HostMask
from ...space import Table
from ...space.space import Strengths
from ..edges import NONE, columns_left, taken_rows, without
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..ramp import share as share_of
from ..verdict import Mask, Verdict

__all__ = ["Threshold", "below"]


@WATCHERS.register("threshold")
class Threshold(Watcher):
    """`share` of the even weight 1 / O at the start, `end` at the end, both in (0, 1); nothing goes before `first`."""

    def __init__(self, share: float = 0.4, end: float = 0.5, first: int = 0) -> None:
        super().__init__()
        for name, value in (("share", share), ("end", end)):
            if not 0 < value < 1:
                raise SupernetError(f"threshold: {name}={value} must lie in (0, 1)")
        if first < 0:
            raise SupernetError(f"threshold: first={first} must be 0 or more")
        self.share, self.end, self.first = share, end, first

    def end_epoch(self, look: Look) -> Mapping[str, float]:
        """How many operations run, in all tables together."""
        masks = look.net.masks()
        return {"operations_left": float(sum(sum(map(sum, masks[table.name])) for table in look.net.space.tables))}

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The mask without what has fallen below the threshold."""
        if look.clock.epoch < self.first or "alphas" not in look.learns:
            return ()
        strengths, masks = look.net.strengths(), look.net.masks()
        left: dict[str, HostMask] = {}
        for table in look.net.space.tables:
            theta = self.theta(table, share_of(look.clock))
            columns = columns_left(look.net.space, table, masks)
            rivals = len(taken_rows(look.net.space, table)) < table.shape[0]
            if gone := below(strengths, table, masks[table.name], columns, theta, rivals):
                left[table.name] = without(masks[table.name], gone)
        return (Mask(left),) if left else ()

    def theta(self, table: Table, s: float) -> float:
        """The threshold for a table at the share `s`, in 0..1, of a search."""
        return float((self.share / table.shape[1]) ** (1 - s) * self.end**s)


def below(
    strengths: Strengths,
    table: Table,
    mask: HostMask,
    columns: Sequence[Sequence[int]],
    theta: float,
    rivals: bool = False,
) -> list[tuple[int, int]]:
    """(row, column) of what runs with a weight below `theta`, without the strongest of `columns` of each row.

    With `rivals` each row keeps `none` too, or else its second one.
    """
    gone = []
    for row, runs in enumerate(mask):
        weights = strengths[table.name][row]
        order = sorted(columns[row], key=lambda column: -weights[column])
        stay = set(order[:1])
        if rivals:
            none = [column for column, on in enumerate(runs) if on and table.columns[column] == NONE]
            stay |= set(none or order[1:2])
        lost = (column for column, on in enumerate(runs) if on and column not in stay and weights[column] < theta)
        gone += [(row, column) for column in lost]
    return gone
