"""One cell as modules: mixed (every operation on every edge) and discrete (one genotype's operations).

Both enter the same way: DARTS cells bring their two inputs to C channels and one size, NAS-Bench-201's take their one
input as it is.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from ...ops import operation
from ...ops.convolution import relu_conv_bn
from ...ops.identity import FactorizedReduce, Zero
from ...space.cells import CellSpace, Edge
from ...space.graph import CellGraph
from ...space.zoo.timm_interface import drop_path as drop_path_of
from ..connector import EdgeHooks, EdgeSite
from ..mixture import HostMask
from .partial_channels import require_divisor
from .pool_norm import with_pool_norm

if TYPE_CHECKING:
    from ..executor.layout import Layout

__all__ = ["CellPlan", "DiscreteCell", "MixedCell", "join", "run_plain"]


Places: TypeAlias = tuple[tuple[tuple[int, int], ...], torch.device]  # (row, column) of terms, and where p is


@dataclass(frozen=True)
class CellPlan:
    """Where a cell stands: the channels of its inputs, its own, and which strides it has."""

    kind: str
    c_inputs: tuple[int, ...]  # channels of each input state
    channels: int
    reduction: bool = False  # stride 2 on the edges from the inputs
    reduction_prev: bool = False  # the first input is twice as large
    preprocess: bool = True


class _Entrance(nn.Module):
    """Brings the cell's inputs to `channels` channels and one size."""

    def __init__(self, plan: CellPlan, affine: bool) -> None:
        super().__init__()
        self.plan = plan
        self.preprocess = nn.ModuleList()
        for i, c_in in enumerate(plan.c_inputs if plan.preprocess else ()):
            halve = i == 0 and plan.reduction_prev
            make = FactorizedReduce if halve else relu_conv_bn
            self.preprocess.append(make(c_in, plan.channels, affine=affine))

    def enter(self, x: Sequence[Tensor]) -> list[Tensor]:
        """The cell's input states, each [B, C, H, W]."""
        return [f(state) for f, state in zip(self.preprocess, x, strict=True)] if len(self.preprocess) else list(x)

    def stride(self, source: int) -> int:
        """The stride of an edge that leaves state `source`."""
        return 2 if self.plan.reduction and source < len(self.plan.c_inputs) else 1

    def empty(self, node: int, states: Sequence[Tensor]) -> Tensor:
        """The state [B, C, H', W'] of a node without terms, zeros; `states` are the cell's, each [B, C, H, W]."""
        return Zero(self.plan.channels, self.stride(0))(states[0])


class MixedCell(_Entrance):
    """Every operation that an edge offers, on every edge. Executors run it.

    `edges[row]` has an edge's operations in the order of the space's table, of which `columns[row]` are the columns.
    With `partial` = k they see the first 1 / k of the channels (partial_channels.py).
    """

    def __init__(
        self, space: CellSpace, plan: CellPlan, *, affine: bool = False, pool_bn: bool = True, partial: int = 1
    ) -> None:
        super().__init__(plan, affine)
        require_divisor(plan.channels, partial)
        self.partial = partial
        self.nodes, self.concat = space.nodes, space.concat
        self._incoming = tuple(space.incoming(space.inputs + node) for node in range(space.nodes))
        c = plan.channels // partial
        self.names = tuple(space.operations)  # of the table's columns
        self.hooks: EdgeHooks | None = None  # connectors and observers of the edges
        self.layouts: dict[HostMask, Layout] = {}  # what a fused executor knows about the cell, a mask each
        self.places: dict[Places, Tensor] = {}  # indices into p that the executor `torch` has used
        self.edges, self.columns = nn.ModuleList(), []
        for edge in space.edges:
            names = space.offered(plan.kind, edge)
            ops = [operation(name, c, c, self.stride(edge.source), affine) for name in names]
            self.edges.append(nn.ModuleList(with_pool_norm(op, c) if pool_bn else op for op in ops))
            self.columns.append([space.operations.index(name) for name in names])

    def incoming(self, node: int) -> tuple[Edge, ...]:
        """The edges that enter node `node`, counted from 0 behind the inputs."""
        return self._incoming[node]

    def operations(self, row: int) -> list[tuple[int, nn.Module]]:
        """(column, operation) of all that an edge offers, in the order of the columns."""
        operations = self.edges[row]
        assert isinstance(operations, nn.ModuleList)
        return list(zip(self.columns[row], operations, strict=True))

    def gated(self, gate: Tensor) -> Iterator[tuple[Tensor, nn.Module]]:
        """(gate [], operation) of all that the cell offers; `gate` is [E, O]."""
        for row in range(len(self.edges)):
            yield from ((gate[row, column], op) for column, op in self.operations(row))

    def edge_sites(self, site: int) -> list[EdgeSite]:
        """The edges in row order, of a cell that is number `site` of its network."""
        edges = sorted((edge for node in self._incoming for edge in node), key=lambda edge: edge.row)
        return [EdgeSite(site, self.plan.kind, e.row, e.source, e.target, self.stride(e.source)) for e in edges]

    def leave(self, states: Sequence[Tensor]) -> Tensor:
        """The cell's output [B, n * C, H, W] of all its states [B, C, H, W]; n of them, `concat`, leave the cell."""
        return join(states, self.concat)


class DiscreteCell(_Entrance):
    """One genotype's operations: `terms[node][i]` belongs to `graph.nodes[node][i]`."""

    def __init__(
        self,
        graph: CellGraph,
        plan: CellPlan,
        *,
        affine: bool = True,
        pool_bn: bool = False,
        drop_path: Callable[[], nn.Module] | None = None,
    ) -> None:
        super().__init__(plan, affine)
        self.graph = graph
        drop_path = drop_path or drop_path_of(0.0)
        self.run_operation: Callable[[nn.Module, Tensor], Tensor] = run_plain  # fused in training_form.py
        c = plan.channels
        self.terms, self.drops = nn.ModuleList(), nn.ModuleList()
        for terms in graph.nodes:
            ops = [operation(term.op, c, c, self.stride(term.source), affine) for term in terms]
            self.terms.append(nn.ModuleList(with_pool_norm(op, c) if pool_bn else op for op in ops))
            # Dropping an identity would cut the path that the other drops lean on; DARTS leaves it out too.
            keep = (nn.Identity() if isinstance(op, nn.Identity) else drop_path() for op in ops)
            self.drops.append(nn.ModuleList(keep))

    def forward(self, *x: Tensor) -> Tensor:
        """[B, C * len(concat), H', W'] from the cell's inputs."""
        states = self.enter(x)
        for node, terms in enumerate(self.graph.nodes):
            ops, drops = self.terms[node], self.drops[node]
            assert isinstance(ops, nn.ModuleList) and isinstance(drops, nn.ModuleList)
            outputs = [
                drop(self.run_operation(op, states[term.source]))
                for term, op, drop in zip(terms, ops, drops, strict=True)
                if term.op != "none"
            ]
            states.append(sum(outputs[1:], outputs[0]) if outputs else self.empty(node, states))
        return join(states, self.graph.concat)


def run_plain(op: nn.Module, x: Tensor) -> Tensor:
    """The operation's output [B, C, H', W'] for `x` [B, C, H, W], as its modules compute it."""
    y: Tensor = op(x)
    return y


def join(states: Sequence[Tensor], concat: Sequence[int]) -> Tensor:
    """The cell's output: the states `concat`, each [B, C, H, W], behind one another along the channels."""
    return states[concat[0]] if len(concat) == 1 else torch.cat([states[i] for i in concat], dim=1)
