"""How a mixed cell lies for the fused executors: by source state what its edges share, by node the terms of its sum.

A separable candidate becomes a branch of its state's edge group, a standard pooling a share of the state's pool pair,
an identity the state itself. All else (dense convolutions, the strided skip, candidates of one's own) is kept as a
stock operation, of which the last batch norm is taken off: all norms are applied where a node is summed.
"""
# E edges, O operations, T terms of a node

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from ...ops import PreActivated
from ...ops.identity import Sourceless, Zero
from ..pool_norm import PoolNorm

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["Branch", "Half", "Layout", "Share", "Source", "Stock", "layout_of", "separable_halves"]


class Half(NamedTuple):
    """Depthwise and pointwise convolution and the norm behind them."""

    depthwise: nn.Conv2d
    pointwise: nn.Conv2d
    norm: nn.BatchNorm2d


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
    """What an edge takes of its state as it is (`kind` 2) or of its poolings (0 maximum, 1 average)."""

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
        return any(share.kind < 2 for share in self.shares)

    @property
    def seconds(self) -> list[Half]:
        """The second halves, those of the first branches."""
        return [branch.second for branch in self.branches if branch.second is not None]


class Layout:
    """The sources of a cell, the columns of p that each node's terms have, and all parameters in one order."""

    def __init__(
        self, sources: Sequence[Source], places: Sequence[Sequence[tuple[int, int]]], mask: Sequence[Sequence[bool]]
    ) -> None:
        self.sources, self.places = tuple(sources), tuple(tuple(node) for node in places)
        self.mask, self.columns = mask, len(mask[0])
        bodies: list[nn.Module] = []
        for source in self.sources:
            for branch in source.branches:
                bodies += [*branch.first, *(branch.second or ())]
            bodies += [share.norm for share in source.shares if share.norm is not None]
            for stock in source.stock:
                bodies += [stock.body] if stock.norm is None else [stock.body, stock.norm]
        self.parameters = list(dict.fromkeys(p for body in bodies for p in body.parameters()))
        self._watched: list[tuple[dict[str, Any], str, Any]] = []
        self.counts = [len(node) for node in self.places]
        self._indices: dict[tuple[torch.device, int | None], Tensor] = {}

    def index(self, device: torch.device, source: int | None = None) -> Tensor:
        """The places in p [E, O] laid flat: of all terms, node by node, or of a source's branches."""
        key = device, source
        if key not in self._indices:
            places = [place for node in self.places for place in node]
            if source is not None:
                places = [self.places[branch.node][branch.term] for branch in self.sources[source].branches]
            flat = [row * self.columns + column for row, column in places]
            with torch.inference_mode(False):  # kept, and so used by passes that train
                self._indices[key] = torch.tensor(flat, dtype=torch.int64).to(device)
        return self._indices[key]

    def watch(self, cell: nn.Module) -> None:
        """Note which modules and parameters the layout was made of."""
        self._watched = [
            (held, name, value)
            for module in cell.modules()
            for held in (module._modules, module._parameters)
            for name, value in cast(dict[str, Any], held).items()
        ]

    def current(self) -> bool:
        """Whether they still are those of the cell: loading may replace parameters, and a user modules."""
        return all(held.get(name) is value for held, name, value in self._watched)

    @property
    def on(self) -> list[bool]:
        """Which edges have anything that runs."""
        return [any(row) for row in self.mask]

    def running(self, device: torch.device) -> Tensor:
        """[E, O], 1 for what runs; made once a device."""
        key = device, -1
        if key not in self._indices:
            with torch.inference_mode(False):
                self._indices[key] = torch.tensor(self.mask).to(device)
        return self._indices[key]


def layout_of(cell: "MixedCell", mask: Sequence[Sequence[bool]]) -> Layout:
    """The layout of what `mask` lets run."""
    inputs = len(cell.plan.c_inputs)
    sources = [Source(cell.stride(state)) for state in range(inputs + cell.nodes)]
    places: list[list[tuple[int, int]]] = []
    for node in range(cell.nodes):
        places.append([])
        for edge in cell.incoming(node):
            for column, op in cell.operations(edge.row):
                if mask[edge.row][column] and not isinstance(op, Zero):
                    _add(sources[edge.source], op, node, len(places[node]))
                    places[node].append((edge.row, column))
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
    halves = separable_halves(op, source.stride)
    pool, norm = (op.pool, op.norm) if isinstance(op, PoolNorm) else (op, None)
    kind = _pool_kind(pool, source.stride)
    if halves:
        source.branches.append(Branch(node, term, halves[0], halves[1] if len(halves) > 1 else None))
    elif kind is not None:
        source.shares.append(Share(node, term, kind, norm))
    elif isinstance(op, nn.Identity):
        source.shares.append(Share(node, term, 2, None))
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


def separable_halves(op: nn.Module, stride: int) -> list[Half]:
    """The halves of a separable candidate that the kernels serve; empty for all others."""
    layers: list[Any] = op.behind_relu() if isinstance(op, PreActivated) else []
    parts = [layers[:3], layers[4:7]] if len(layers) == 7 and type(layers[3]) is nn.ReLU else [layers]
    found = []
    for i, part in enumerate(parts):
        s = stride if i == 0 else 1
        if len(part) != 3 or not _served(part, s, (1, 2) if i == 0 and len(parts) == 1 else (1,)):
            return []
        found.append(Half(*part))
    return found


def _served(part: Sequence[nn.Module], stride: int, dilations: Sequence[int]) -> bool:
    depthwise, pointwise, norm = part
    if not (type(depthwise) is type(pointwise) is nn.Conv2d and type(norm) is nn.BatchNorm2d):
        return False
    c, k, d = depthwise.in_channels, depthwise.kernel_size[0], depthwise.dilation[0]
    form = {"kernel_size": (k, k), "stride": (stride, stride), "dilation": (d, d), "padding": (d * (k // 2),) * 2}
    return (
        k in (3, 5, 7)
        and d in dilations
        and all(getattr(depthwise, name) == value for name, value in form.items())
        and depthwise.groups == depthwise.out_channels == c == pointwise.in_channels == pointwise.out_channels
        and (pointwise.kernel_size, pointwise.stride, pointwise.padding) == ((1, 1), (1, 1), (0, 0))
        and pointwise.groups == 1
        and depthwise.padding_mode == "zeros"
        and depthwise.bias is None
        and pointwise.bias is None
    )


def _pool_kind(pool: nn.Module, stride: int) -> int | None:
    """0 for the maximum and 1 for the average over 3x3 windows as the kernels take them, None for other modules."""
    if type(pool) not in (nn.MaxPool2d, nn.AvgPool2d):
        return None
    wanted = {"kernel_size": 3, "stride": stride, "padding": 1, "ceil_mode": False, "dilation": 1,
              "return_indices": False, "count_include_pad": False, "divisor_override": None}  # fmt: skip
    if any(getattr(pool, name, value) != value for name, value in wanted.items()):
        return None
    return 0 if type(pool) is nn.MaxPool2d else 1
