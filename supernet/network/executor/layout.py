"""How a mixed cell lies for the fused executors: by source state what its edges share, by node the terms of its sum.

A separable candidate becomes a branch of its state's edge group, a standard pooling a share of the state's pool pair,
an identity the state itself. All else (dense convolutions, the strided skip, candidates of one's own) stays as a
stock operation, of which the last batch norm is taken off: all norms are applied where a node is summed.
"""
# C channels, k size of a filter, E edges, O operations, T terms of a node

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ...ops import PreActivated
from ...ops.identity import Sourceless, Zero
from ..cells.pool_norm import PoolNorm
from .separable_halves import Half, separable_halves

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["AVERAGE", "ITSELF", "MAXIMUM", "Branch", "Candidate", "Half", "Layout", "Place", "Share", "Source", "Stock",
           "filters", "layout_of", "separable_halves"]  # fmt: skip

MAXIMUM, AVERAGE, ITSELF = range(3)  # kinds of a share; the first two number the poolings of `pool_pair`


class Place(NamedTuple):
    """Where p [E, O] has the weight of a term."""

    row: int
    column: int


@dataclass(frozen=True)
class Branch:
    """A separable candidate of one edge: term `term` of node `node`."""

    node: int
    term: int
    first: Half
    second: Half | None

    @property
    def last(self) -> Half:
        return self.second or self.first


@dataclass(frozen=True)
class Share:
    """What an edge takes of its state as it is (`kind` ITSELF) or of its poolings (MAXIMUM, AVERAGE)."""

    node: int
    term: int
    kind: int
    norm: nn.BatchNorm2d | None


@dataclass(frozen=True)
class Stock:
    """Any other candidate: `body` of stock operations, on the rectified state where `rectified`."""

    node: int
    term: int
    body: nn.Module
    rectified: bool
    norm: nn.BatchNorm2d | None


Candidate: TypeAlias = Branch | Share | Stock


@dataclass
class Source:
    """All that leaves one state; branches of two halves come first. `free` reads nothing of the state but its size."""

    stride: int
    branches: list[Branch] = field(default_factory=list)
    shares: list[Share] = field(default_factory=list)
    stock: list[Stock] = field(default_factory=list)
    free: list[Stock] = field(default_factory=list)

    @property
    def pooled(self) -> bool:
        return any(share.kind != ITSELF for share in self.shares)

    @property
    def firsts(self) -> list[Half]:
        """The first halves of all branches."""
        return [branch.first for branch in self.branches]

    @property
    def seconds(self) -> list[Half]:
        """The second halves, those of the first branches."""
        return [branch.second for branch in self.branches if branch.second is not None]

    @property
    def dilations(self) -> list[int]:
        """Those of the first halves; second halves have none."""
        return [half.depthwise.dilation[0] for half in self.firsts]

    def bodies(self) -> list[nn.Module]:
        """All modules that have parameters, branches first; `free` has none."""
        halves = [half for branch in self.branches for half in (branch.first, branch.second) if half is not None]
        stock = [module for stock in self.stock for module in (stock.body, stock.norm)]
        modules = [*(module for half in halves for module in half), *(share.norm for share in self.shares), *stock]
        return [module for module in modules if module is not None]


def filters(halves: Sequence[Half]) -> tuple[list[Tensor], list[Tensor]]:
    """The depthwise weights [C, 1, k, k] and the pointwise weights [C, C, 1, 1] of each half."""
    return [half.depthwise.weight for half in halves], [half.pointwise.weight for half in halves]


class _Watched(NamedTuple):
    """A module or parameter, and the place where its owner has it."""

    owner: Mapping[str, object]
    name: str
    value: object


class Layout:
    """The sources of a cell, the places in p that each node's terms have, and all parameters in one order.

    `mask[row][column]` says what runs, of that alone which the edge offers.
    """

    def __init__(
        self, sources: Sequence[Source], places: Sequence[Sequence[Place]], mask: Sequence[Sequence[bool]]
    ) -> None:
        self.sources, self.places = tuple(sources), tuple(tuple(node) for node in places)
        self.mask, self.columns = mask, len(mask[0])
        bodies = [body for source in self.sources for body in source.bodies()]
        self.parameters = list(dict.fromkeys(p for body in bodies for p in body.parameters()))
        self.counts = [len(node) for node in self.places]  # T of each node
        self._watched: list[_Watched] = []
        self._indices: dict[tuple[torch.device, int | None], Tensor] = {}
        self._running: dict[torch.device, Tensor] = {}

    def index(self, device: torch.device, source: int | None = None) -> Tensor:
        """The places in p [E, O] laid flat: of all terms, node by node, or [n] of the n branches of a source."""
        key = device, source
        if key not in self._indices:
            places = [place for node in self.places for place in node]
            if source is not None:
                places = [self.places[branch.node][branch.term] for branch in self.sources[source].branches]
            flat = [place.row * self.columns + place.column for place in places]
            with torch.inference_mode(False):  # it stays, and so is used by passes that train
                self._indices[key] = torch.tensor(flat, dtype=torch.int64).to(device)
        return self._indices[key]

    @property
    def on(self) -> list[bool]:
        """Which edges have anything that runs."""
        return [any(row) for row in self.mask]

    def running(self, device: torch.device) -> Tensor:
        """[E, O], true for what runs; made once a device."""
        if device not in self._running:
            with torch.inference_mode(False):
                self._running[device] = torch.tensor(self.mask).to(device)
        return self._running[device]

    def watch(self, edges: nn.Module) -> None:
        """Note of which modules and parameters of a cell's `edges` the layout was made."""
        for module in edges.modules():
            owners: tuple[Mapping[str, object], ...] = (module._modules, module._parameters)
            self._watched += [_Watched(owner, name, value) for owner in owners for name, value in owner.items()]

    def current(self) -> bool:
        """Whether they still are those of the cell: loading may replace parameters, and a user modules."""
        return all(owner.get(name) is value for owner, name, value in self._watched)


def layout_of(cell: "MixedCell", mask: Sequence[Sequence[bool]]) -> Layout:
    """The layout of what `mask[row][column]` lets run."""
    inputs = len(cell.plan.c_inputs)
    sources = [Source(cell.stride(state)) for state in range(inputs + cell.nodes)]
    places: list[list[Place]] = []
    for node in range(cell.nodes):
        places.append([])
        for edge in cell.incoming(node):
            for column, op in cell.operations(edge.row):
                if mask[edge.row][column] and not isinstance(op, Zero):
                    _add(sources[edge.source], op, node, len(places[node]))
                    places[node].append(Place(edge.row, column))
    for source in sources:
        source.branches.sort(key=lambda branch: branch.second is None)
    layout = Layout(sources, places, [_offered(cell, row, mask[row]) for row in range(len(mask))])
    layout.watch(cell.edges)
    return layout


def _offered(cell: "MixedCell", row: int, mask: Sequence[bool]) -> list[bool]:
    """Which columns of an edge run: those of `mask` that it offers, `none` included."""
    offered = {column for column, _ in cell.operations(row)}
    return [bool(on) and column in offered for column, on in enumerate(mask)]


def _add(source: Source, op: nn.Module, node: int, term: int) -> None:
    """Enter `op` among what leaves `source`, as term `term` of node `node`."""
    halves = separable_halves(op, source.stride)
    pool, norm = (op.pool, op.norm) if isinstance(op, PoolNorm) else (op, None)
    pooling = _pooling(pool, source.stride)
    if halves:
        source.branches.append(Branch(node, term, halves[0], halves[1] if len(halves) > 1 else None))
    elif pooling is not None:
        source.shares.append(Share(node, term, pooling, norm))
    elif isinstance(op, nn.Identity):
        source.shares.append(Share(node, term, ITSELF, None))
    elif isinstance(op, PreActivated):
        *layers, last = op.behind_relu()
        if isinstance(last, nn.BatchNorm2d):
            source.stock.append(Stock(node, term, nn.Sequential(*layers), True, last))
        else:
            source.stock.append(Stock(node, term, nn.Sequential(*layers, last), True, None))
    elif isinstance(op, Sourceless):
        source.free.append(Stock(node, term, op, False, None))
    else:
        source.stock.append(Stock(node, term, op, False, None))


def _pooling(pool: nn.Module, stride: int) -> int | None:
    """MAXIMUM or AVERAGE over 3x3 windows as the kernels take them, None for other modules."""
    if type(pool) not in (nn.MaxPool2d, nn.AvgPool2d):
        return None
    served = {"kernel_size": 3, "stride": stride, "padding": 1, "ceil_mode": False, "dilation": 1,
              "return_indices": False, "count_include_pad": False, "divisor_override": None}  # fmt: skip
    if any(getattr(pool, name, value) != value for name, value in served.items()):
        return None
    return MAXIMUM if type(pool) is nn.MaxPool2d else AVERAGE
