"""Operations go by what an untrained network says of their removal (TE-NAS; Chen et al., arXiv:2102.11535, their code).

of each removal:   (kappa_0 - kappa) / kappa_0   ranked from large to small      the network gets easier to train
                   (R_0 - R) / R_0               ranked from small to large      it loses little of what it tells apart
a round takes from each edge the `each` operations with the least sum of ranks, the next round ranks anew

Nothing is trained: kappa is that of the space's network with p = 1 for all that is left, on `batch` images, R that of
one of a single channel on random inputs of 3 x 3, both over `repeats` draws of the weights (untrained.py). `none` goes
first where a space may take it. When each edge has one operation, the edges of a node are ranked in the same way and
those that cost most to lose stay. Each removal costs `repeats` times `batch` backward passes. The authors' script takes
3 operations at once from DARTS cells, 1 for NAS-Bench-201 with batches of 72.
"""
# B samples, E edges, O operations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from ...counter import derive
from ...errors import SupernetError
from ...network import Supernet
from ...network.mixture import HostMask, Mixture
from ...space import Genotype, Space, Table
from ...space.cells import CellSpace
from ..edges import NONE, columns_left, nodes, taken_rows, without
from ..look import Look
from ..parts import SELECTORS, Selector
from ..untrained import draw_kaiming, linear_regions, ntk_condition
from ..verdict import Done, Mask, Verdict

__all__ = ["RankSum", "rank_sums"]

Masks: TypeAlias = Mapping[str, HostMask]
Removal: TypeAlias = tuple[str, int, int]  # table, row, column; column -1 is the whole row
WHOLE = -1
SIZE = 3  # height and width of the random inputs
SAMPLES = 3  # batches of them


@SELECTORS.register("rank_sum")
class RankSum(Selector):
    """Each argument is 1 or more; `inputs` is how many random inputs each of 3 batches has.

    A round an epoch; what is left in the last epoch is decided then.
    """

    traits = frozenset({"selects in rounds"})

    def __init__(self, each: int = 3, repeats: int = 3, batch: int = 14, inputs: int = 1000) -> None:
        super().__init__()
        for name, value in (("each", each), ("repeats", repeats), ("batch", batch), ("inputs", inputs)):
            if value < 1:
                raise SupernetError(f"rank_sum: {name}={value} must be 1 or more")
        self.each, self.scorings, self.batch, self.inputs, self.seed = each, repeats, batch, inputs, 0
        self.stays = nn.Module()  # a buffer [E] a table: 1, and 0 for edges that their node loses

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space without cells, whose network has no narrow form."""
        if not isinstance(space, CellSpace):
            raise SupernetError(
                f"method.selector=rank_sum counts the regions of cells of one channel, and space {space.name!r} does "
                "not have cells; it takes a space such as darts or nasbench201"
            )

    def bind(self, net: Supernet, seed: int) -> None:
        self.seed = seed
        for table in net.space.tables:
            self.stays.register_buffer(table.name, torch.ones(table.shape[0]))

    def present(self, net: Supernet) -> Genotype:
        strengths = dict(net.options.ranked(net.strengths()))
        for table in net.space.tables:
            rows = zip(strengths[table.name], self.stays.get_buffer(table.name).tolist(), strict=True)
            strengths[table.name] = [[value * stay if value > 0 else value for value in row] for row, stay in rows]
        return net.space.project(strengths)

    def round(self, look: Look) -> Sequence[Verdict]:
        """One round, or all that are left in the last epoch; done when every edge and every node is decided."""
        masks = {table.name: look.net.masks()[table.name] for table in look.net.space.tables}
        measured = _Untrained(self, look)
        done = False
        while not done:
            masks, done = self._next(look.net.space, masks, measured)
            if not look.last:
                break
        return (Mask(masks), Done()) if done else (Mask(masks),)

    def _next(self, space: Space, masks: Masks, measured: "_Untrained") -> tuple[dict[str, HostMask], bool]:
        """(masks behind one round, whether all is decided)"""
        left = {table.name: columns_left(space, table, masks) for table in space.tables}
        nothing = {table.name: _none_of(table, left[table.name]) for table in space.tables}
        if any(nothing.values()):
            return {name: without(masks[name], nothing[name]) for name in masks}, False
        removals = [
            (table.name, row, column)
            for table in space.tables
            for row, columns in enumerate(left[table.name])
            for column in (columns if len(columns) > 1 else ())
        ]
        if removals:
            sums = rank_sums(removals, measured(masks), lambda at: measured(_removed(masks, at)))
            return {
                table.name: without(masks[table.name], self._least(table, left, sums)) for table in space.tables
            }, False
        self._choose_inputs(space, masks, measured)
        return dict(masks), True

    def _least(
        self, table: Table, left: Mapping[str, Sequence[Sequence[int]]], sums: Mapping[Removal, int]
    ) -> list[tuple[int, int]]:
        """The (row, column) that go from a table."""
        gone = []
        for row, columns in enumerate(left[table.name]):
            places = [(table.name, row, column) for column in columns] if len(columns) > 1 else []
            least = sorted(places, key=lambda place: sums[place])[: min(self.each, len(columns) - 1)]
            gone += [(row, column) for _, row, column in least]
        return gone

    def _choose_inputs(self, space: Space, masks: Masks, measured: "_Untrained") -> None:
        taken = {table.name: taken_rows(space, table) for table in space.tables}
        choosing = [(table, rows) for table in space.tables for rows in nodes(table).values()]
        choosing = [(table, rows) for table, rows in choosing if len(taken[table.name] & set(rows)) < len(rows)]
        removals = [(table.name, row, WHOLE) for table, rows in choosing for row in rows]
        if not removals:
            return
        sums = rank_sums(removals, measured(masks), lambda at: measured(_removed(masks, at)))
        for table, rows in choosing:
            many = len(rows) - len(taken[table.name] & set(rows))
            for row in sorted(rows, key=lambda row: sums[table.name, row, WHOLE])[:many]:
                self.stays.get_buffer(table.name)[row] = 0


class _Untrained:
    """(kappa, R) of a search's network under masks, averaged over draws of its weights, and over the ranks."""

    def __init__(self, part: RankSum, look: Look) -> None:
        self.part, self.net, self.look = part, look.net, look
        self.device = look.net.alphas()[0].device
        self.wide = self._copy(look.net.arguments)
        self.narrow = self._copy({**look.net.arguments, "channels": 1, "partial": 1})
        self.first = next(iter(look.loaders("train")))
        self.batches = self._images()

    def __call__(self, masks: Masks) -> tuple[float, float]:
        values = torch.zeros(2, dtype=torch.float64, device=self.device)
        for number in range(self.part.repeats):
            draw_kaiming(self.wide, "fan_out", derive(self.part.seed, "rank_sum", number))
            draw_kaiming(self.narrow, "fan_in", derive(self.part.seed, "rank_sum", number))
            x = self.batches[number % len(self.batches)]
            values[0] += ntk_condition(self.wide, _mixture(self.wide, masks), x)
            values[1] += linear_regions(self.narrow, _mixture(self.narrow, masks), self._random(number))
        values /= self.part.repeats
        problem = self.look.problem(self.first, self.first)
        if problem.reduce is not None:
            problem.reduce([values])
        kappa, regions = values.tolist()
        return kappa, regions

    def _copy(self, arguments: Mapping[str, object]) -> Supernet:
        return Supernet(self.net.space, executor="reference", seed=0, **arguments).to(self.device)

    def _images(self) -> list[Tensor]:
        """`repeats` batches of the weights' part, or fewer where it is small."""
        needed = self.part.repeats * self.part.batch
        images: list[Tensor] = []
        for x, *_ in self.look.loaders("train"):
            images.append(x)
            if sum(map(len, images)) >= needed:
                break
        return list(torch.cat(images).split(self.part.batch))[: self.part.repeats]

    def _random(self, number: int) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(derive(self.part.seed, "rank_sum", "inputs", number))
        shape = (self.part.inputs, self.batches[0].shape[1], SIZE, SIZE)
        return (torch.randn(shape, generator=generator).to(self.device) for _ in range(SAMPLES))


def rank_sums(
    removals: Sequence[Removal],
    whole: tuple[float, float],
    measure: Callable[[Removal], tuple[float, float]],
) -> dict[Removal, int]:
    """The sum of both ranks of each removal, the least first to go; equals share a rank. `whole` is (kappa_0, R_0)."""
    values = {at: measure(at) for at in removals}
    easier = {at: -(whole[0] - kappa) / whole[0] for at, (kappa, _) in values.items()}
    poorer = {at: (whole[1] - regions) / whole[1] for at, (_, regions) in values.items()}
    return {at: _rank(easier, at) + _rank(poorer, at) for at in removals}


def _rank(values: Mapping[Removal, float], at: Removal) -> int:
    """How many different values are smaller than that of `at`."""
    return len({value for value in values.values() if value < values[at]})


def _removed(masks: Masks, at: Removal) -> dict[str, HostMask]:
    name, row, column = at
    columns = range(len(masks[name][row])) if column == WHOLE else [column]
    return {**masks, name: without(masks[name], [(row, column) for column in columns])}


def _mixture(net: Supernet, masks: Masks) -> Mixture:
    p = {name: torch.tensor(mask, dtype=torch.float32, device=net.alphas()[0].device) for name, mask in masks.items()}
    return net.mixture(p, dict(masks))


def _none_of(table: Table, left: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The (row, column) of `none` where a projection may take it and has others."""
    return [
        (row, column)
        for row, columns in enumerate(left)
        for column in columns
        if table.columns[column] == NONE and len(columns) > 1
    ]
