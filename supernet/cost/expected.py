"""Expected cost under mixing weights: differentiable, and exact at the weights of a genotype.

    E[cost](p) = sum over parts  cost(part) * P(part runs)        P is a product over the part's factors (placed.py)

It is multilinear in the rows of p. With p = one-hot(g) it is the cost of genotype g; with p = softmax(alpha) its
gradient tells alpha what each option costs, weighted by how likely the option runs at all.
"""
# E edges, O options, F factors, T terms

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from ..errors import SupernetError
from ..space import Genotype, Space
from .arguments import check_space, complete, image_for, input_shape
from .cells import known_cells, relaxed_parts
from .count import count, count_whole
from .modules import module_parts
from .placed import Factor, Part, Placed, Shape, merged

__all__ = ["CostTable", "cost_table", "expected", "placed_parts", "tabulate"]

KINDS = ("flops", "parameters")
CHECKED = 2  # whole networks that a table of a user's own space is held against


@dataclass(frozen=True)
class CostTable:
    """What the parts of a space cost: `fixed` always, and each of `terms` where all its factors hold."""

    space: Space
    unit: str
    fixed: float
    terms: tuple[tuple[tuple[Factor, ...], float], ...]

    def of(self, genotype: Genotype) -> float:
        """The cost of `genotype`, without tensors."""
        active = {name: set(pairs) for name, pairs in self.space.active(genotype).items()}
        total = self.fixed
        for factors, cost in self.terms:
            total += cost * prod(sum((f.row, o) in active[f.table] for o in f.options) for f in factors)
        return total

    def scaled(self, scale: float) -> "CostTable":
        """`scale` times each cost."""
        terms = tuple((factors, scale * cost) for factors, cost in self.terms)
        return CostTable(self.space, self.unit, scale * self.fixed, terms)

    @cached_property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """(members [F, N], of 0 and 1; factors of each term [T, K]; costs [T]); N options of all tables in a row.

        The factor number F is 1 always, and fills up terms of fewer than K factors.
        """
        start, width = {}, 0
        for name, (rows, columns) in table_shapes(self.space).items():
            start[name] = width, columns
            width += rows * columns
        number = {f: i for i, f in enumerate(dict.fromkeys(f for factors, _ in self.terms for f in factors))}
        members = torch.zeros(len(number), width, dtype=torch.float64)
        for f, i in number.items():
            first, columns = start[f.table]
            members[i, [first + f.row * columns + option for option in f.options]] = 1
        most = max((len(factors) for factors, _ in self.terms), default=1)
        filled = [[*(number[f] for f in factors), *[len(number)] * (most - len(factors))] for factors, _ in self.terms]
        costs = torch.tensor([cost for _, cost in self.terms], dtype=torch.float64)
        return members, torch.tensor(filled, dtype=torch.int64).reshape(-1, most), costs

    def tensors_on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """`tensors` (members [F, N], factors [T, K], costs [T]) on a device, moved there once.

        So a step that is captured as a graph copies nothing from the host.
        """
        if device not in self._moved:
            members, factors, costs = self.tensors
            self._moved[device] = members.to(device), factors.to(device), costs.to(device)
        return self._moved[device]

    @cached_property
    def _moved(self) -> dict[torch.device, tuple[Tensor, Tensor, Tensor]]:
        return {}


def cost_table(
    space: Space, unit: str = "flops", *, image: Sequence[int] | None = None, **arguments: object
) -> CostTable:
    """The `unit` ("flops" or "parameters") of all parts of a relaxed `space`, for one image (C, H, W).

    `arguments` are those of the discrete network: channels, layers ... Cells join what relaxed cells join, which for
    NASNet's are all nodes (concat="relaxed"). Raises SupernetError for a space whose relaxed network is not known here,
    and for one whose costs are no sum over its parts.
    """
    if unit not in KINDS:
        raise SupernetError(f"cost {unit!r:.40} is not known; allowed: {', '.join(KINDS)} (latency: latency_table)")
    shape = input_shape(image_for(space, image, arguments))
    arguments = complete(space, arguments, shape)
    placed = placed_parts(space, shape, arguments)
    costs = {part: float(getattr(count(part), unit)) for part in {one.part: None for one in placed}}
    table = tabulate(space, unit, placed, costs)
    if space.factory is not None:
        _check(table, shape, arguments)
    return table


def expected(space: Space, p: Mapping[str, Tensor], table: CostTable) -> Tensor:
    """The expected cost, a scalar in float64, with gradients to `p`: table name -> mixing weights [E, O].

    `supernet.mixing()` gives such weights. Decisions without alphas that `p` lacks take their default. Raises
    SupernetError for a table of another space, and for weights that are lacking or have another shape.
    """
    check_space(space)
    if table.space is not space and (table.space.name, table.space.root) != (space.name, space.root):
        raise SupernetError(f"the costs are those of space {table.space.name!r}, not of {space.name!r}")
    weights = _weights(space, p)
    members, factors, costs = table.tensors_on(weights.device)
    holds = torch.cat([members @ weights, weights.new_ones(1)])
    return table.fixed + (holds[factors].prod(dim=1) * costs).sum()


def placed_parts(space: Space, shape: Shape, arguments: Mapping[str, object], *, widths: bool = False) -> list[Placed]:
    """The parts of the relaxed space on inputs of `shape`, each with the options under which it runs."""
    cells = known_cells(space)
    if cells is not None:
        return relaxed_parts(cells, shape, arguments)
    if space.factory is None:
        raise SupernetError(
            f"the relaxed costs of space {space.name!r} (networks {space.macro or 'none'!r}, without a frame) are not "
            "known; supernet.cost.report(genotype) counts single networks"
        )
    return module_parts(space, shape, arguments, widths=widths)


def tabulate(space: Space, unit: str, placed: Iterable[Placed], costs: Mapping[Part, float]) -> CostTable:
    """The table of `placed` parts with the cost of each."""
    sums: dict[tuple[Factor, ...], float] = {}
    for one in placed:
        factors = merged(one.factors)
        sums[factors] = sums.get(factors, 0.0) + one.times * costs[one.part]
    terms = tuple((factors, cost) for factors, cost in sums.items() if factors and cost)
    return CostTable(space, unit, sums.get((), 0.0), terms)


def _check(table: CostTable, shape: Shape, arguments: Mapping[str, object]) -> None:
    """Some whole networks against the table: what a network computes between its parts no sum over parts sees."""
    rng = random.Random(0)
    for _ in range(CHECKED):
        genotype = table.space.sample(rng)
        whole = getattr(count_whole(genotype, table.space, shape, arguments), table.unit)
        if table.of(genotype) != whole:
            raise SupernetError(
                f"the {table.unit} of space {table.space.name!r} are no sum over its layers: {whole:,} as a whole, "
                f"{table.of(genotype):,.0f} by layers; do not compute between layers with what choices change"
            )


def table_shapes(space: Space) -> dict[str, tuple[int, int]]:
    """(E, O) of the tables, and of the decisions without alphas."""
    return {t.name: t.shape for t in space.tables} | {name: (1, len(row)) for name, row in space.searchable.items()}


def _weights(space: Space, p: Mapping[str, Tensor]) -> Tensor:
    """All mixing weights in a row [N], in the order of `table_shapes`."""
    like = next(iter(p.values()), torch.empty(0))
    rows = []
    for name, shape in table_shapes(space).items():
        if name in p:
            if tuple(p[name].shape) != shape:
                raise SupernetError(f"mixing weights of table {name!r} have shape {tuple(p[name].shape)}, not {shape}")
            rows.append(p[name].double().flatten())
        elif name in space.searchable:
            rows.append(torch.tensor(space.searchable[name], dtype=torch.float64, device=like.device))
        else:
            raise SupernetError(f"mixing weights lack table {name!r} of space {space.name!r}")
    return torch.cat(rows)
