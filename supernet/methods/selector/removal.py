"""Operations by what their removal costs (DARTS-PT; Wang et al., arXiv:2108.04392, section 4).

every `every` epochs of tuning, a drawn edge that is open:   keeps  argmax_o [acc - acc(p[e, o] = 0)]
when all edges are decided:   of the inputs of a node those stay whose removal costs most

The strength of an operation is not its alpha, but what the network loses without it. p is not normalised again where an
option goes. All edges that share a row of a table are decided together. Accuracy is that of the whole alphas' part, by
the batch's own statistics, as in the authors' code, whose running statistics move meanwhile; here they stay.
What decides about the inputs is one removal each, all others present; inputs that do not stay go on running until the
end of the search.
"""
# E edges, O operations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...counter import permutation
from ...errors import SupernetError
from ...network.mixture import HostMask
from ...space import Genotype, Space, Table
from ...tasks.compare import rank
from ..look import Look
from ..parts import SELECTORS, Selector
from ..verdict import Done, FixEdge, Verdict

if TYPE_CHECKING:
    from ...network import Supernet

__all__ = ["Removal"]


@SELECTORS.register("removal")
class Removal(Selector):
    """Decides one row of each table every `every` rounds, then all inputs of one node of each table.

    Where the tuning ends before all is decided, the alphas decide the rest.
    """

    rounds: Tensor
    traits = frozenset({"selects in rounds", "measures removals"})

    def __init__(self, every: int = 1) -> None:
        super().__init__()
        if every < 1:
            raise SupernetError(f"removal: every={every} must be 1 or more")
        self.every, self.seed = every, 0
        self.inputs = nn.Module()  # a buffer [E] a table: how much the removal of a row costs, by its place in 0..1
        self.register_buffer("rounds", torch.zeros((), dtype=torch.int64))

    def bind(self, net: "Supernet", seed: int) -> None:
        """Makes room for the decisions about inputs, 1 for each row of a table until they are made."""
        self.seed = seed
        for table in net.space.tables:
            self.inputs.register_buffer(table.name, torch.ones(table.shape[0]))

    def present(self, net: "Supernet") -> Genotype:
        strengths = dict(net.options.ranked(net.strengths()))
        for table in net.space.tables:
            places = self.inputs.get_buffer(table.name).tolist()
            rows = zip(strengths[table.name], places, strict=True)
            strengths[table.name] = [[value * place if value > 0 else value for value in row] for row, place in rows]
        return net.space.project(strengths)

    def round(self, look: Look) -> Sequence[Verdict]:
        """Decides the next row or node of each table; done when no table has one left."""
        number = int(self.rounds)
        self.rounds += 1
        if number % self.every:
            return ()
        turn, verdicts, left = number // self.every, [], False
        for table in look.net.space.tables:
            rows, nodes = self._order(look, table)
            if turn < len(rows):
                verdicts.append(FixEdge(table.name, rows[turn], self.choose(look, table, rows[turn])))
            elif turn - len(rows) < len(nodes):
                self._rank_inputs(look, table, nodes[turn - len(rows)])
            left = left or turn + 1 < len(rows) + len(nodes)
        return verdicts if left else [*verdicts, Done()]

    def choose(self, look: Look, table: Table, row: int) -> int:
        """The column of a row whose removal costs most; of equals the first."""
        masks = look.net.masks()[table.name]
        columns = [o for o in look.net.space.competing(table, row) if masks[row][o]]
        if len(columns) == 1:
            return columns[0]
        without = {column: self._without(look, table, [(row, column)]) for column in columns}
        return min(columns, key=lambda column: without[column])

    def _rank_inputs(self, look: Look, table: Table, node: int) -> None:
        """Writes for the rows that enter a node how they stand among each other, in (0, 1]."""
        rows = [row for row, target in enumerate(table.targets or ()) if target == node]
        columns = range(table.shape[1])
        without = {row: self._without(look, table, [(row, column) for column in columns]) for row in rows}
        places = sorted(rows, key=lambda row: -without[row])  # the dearest to lose comes last
        buffer = self.inputs.get_buffer(table.name)
        for place, row in enumerate(places):
            buffer[row] = (place + 1) / len(places)

    def _order(self, look: Look, table: Table) -> tuple[list[int], list[int]]:
        """(rows that are not decided from the start, nodes whose inputs are chosen), each in a counted order."""
        open_rows = [row for row in range(table.shape[0]) if len(look.net.space.competing(table, row)) > 1]
        drawn = permutation(self.seed, f"removal/{table.name}", 0, len(open_rows)).tolist()
        rows = [open_rows[number] for number in drawn]
        nodes = sorted(set(table.targets or ())) if _chooses_inputs(look.net.space) else []
        drawn = permutation(self.seed, f"removal/{table.name}", 1, len(nodes)).tolist()
        return rows, [nodes[number] for number in drawn]

    def _without(self, look: Look, table: Table, gone: Sequence[tuple[int, int]]) -> float:
        """The metric that selects, where some (row, column) of a table have p = 0; more is better."""
        p = dict(look.net.mixing())
        gate = torch.ones_like(p[table.name])
        mask = [list(row) for row in look.net.masks()[table.name]]
        for row, column in gone:
            gate[row, column], mask[row][column] = 0, False
        p[table.name] = p[table.name] * gate
        gates: dict[str, HostMask | Tensor] = {table.name: tuple(tuple(row) for row in mask)}
        metrics = look.measure(look.net.mixture(p, gates), batch_statistics=True)
        return rank(metrics[look.selects.removeprefix("val/")], look.maximise)


def _chooses_inputs(space: Space) -> bool:
    """Whether a projection chooses among the rows that enter a node."""
    even = {table.name: [[1.0] * table.shape[1] for _ in range(table.shape[0])] for table in space.tables}
    active = space.active(space.project(even))
    return any(len(active[table.name]) < table.shape[0] for table in space.tables if table.targets is not None)
