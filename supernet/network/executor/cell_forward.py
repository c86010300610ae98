"""One pass of a mixed cell through the fused operators, and its way back; fused.py makes a function of autograd of it.

    forwards   of each state:  edge group -> second halves;  pools;  stock operations
               of each node:   one sum over its terms, normalised and weighed
    backwards  of each node:   dL/dp and the coefficients a, b, c of each term's dz = a g + b z + c, in one read
               of each state:  second halves <- edge group <- coefficients, poolings and identities, in one write

Kept are the states, z1 and z2 (what stands before the norms), the stock outputs and [4, T, C] numbers; poolings and
everything between are computed again.
"""
# B batch, C channels, H height, W width, E edges, O operations, T terms of a node, n branches

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cuda_kernels.pool_pair.pair import pool_pair
from ...cuda_kernels.separable.edge_group import edge_group
from ...cuda_kernels.separable.sep_second import sep_second
from ...cuda_kernels.tensors import channels_last, pixels
from ..partial_channels import take
from .bypasses import Bypasses
from .inner_graphs import edge_of
from .layout import Layout, Source
from .node_sum import mix
from .norms import Advance, pack, plain

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["CellForward", "Record", "Term"]

EPS = nn.BatchNorm2d(1).eps  # where a pooling has no norm, nothing uses it


class Term:
    """One term of a node: where its tensor is kept (None: pooling `kind` of state `source`) and its norm."""

    def __init__(self, z: Tensor, row: Tensor, norm: nn.BatchNorm2d | None, slot: Any) -> None:
        self.z: Tensor | None = z
        self.row: Tensor | None = row  # [4, 1, C]
        self.norm, self.slot = norm, slot


class Record:
    """What one pass leaves for its way back: numbers of kept tensors, and the graphs of the stock operations."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.states: list[int] = []  # what the operations see of each state
        self.bypasses: Bypasses | None = None  # with partial channels
        self.z1: dict[int, int] = {}  # of a source
        self.z2: dict[int, int] = {}
        self.middle: dict[int, int] = {}  # [4, m, C] of the norms between the halves
        self.stock: dict[int, tuple[Tensor, list[Any]]] = {}  # the leaf, and where the way back from each output begins
        self.terms: list[list[Term]] = []
        self.packs: list[int] = []  # [4, T, C] of a node
        self.p: list[Tensor] = []
        self.gates: list[Tensor | None] = []

    def keep(self, x: Tensor) -> int:
        self.tensors.append(x)
        return len(self.tensors) - 1

    def clear(self) -> None:
        """Lets go of what is held beside autograd's own tensors."""
        self.stock.clear()
        if self.bypasses is not None:
            self.bypasses.clear()


class CellForward:
    """Forwards through one cell; `record` is what the way back needs, empty unless `keeps`."""

    def __init__(self, cell: "MixedCell", layout: Layout, p: Tensor, gate: Tensor | None, *, keeps: bool) -> None:
        self.cell, self.layout, self.keeps = cell, layout, keeps
        self.record, self.advance = Record(), Advance()
        self._gate = None if gate is None else gate.reshape(-1)
        flat = p.detach().reshape(-1).index_select(0, layout.index(p.device))
        self._p = flat.split(layout.counts)
        gates = None if self._gate is None else self._gate.index_select(0, layout.index(p.device)).split(layout.counts)
        self._gates: Sequence[Tensor | None] = gates or [None] * len(layout.counts)
        self._terms: list[list[Any]] = [[None] * count for count in layout.counts]
        if cell.partial > 1:
            running = layout.running(p.device) if gate is None else gate
            self.record.bypasses = Bypasses(cell, p, running.to(p.dtype), layout.on)

    def run(self, states: Sequence[Tensor]) -> Tensor:
        """The cell's output of its input states [B, C, H, W]."""
        with _amp(states[0].device) as self._autocast:
            found = [channels_last(state) for state in states]
            for number in range(len(self.layout.sources)):
                if number >= len(states):
                    found.append(self._node(number - len(states), found))
                seen = take(found[number], self.cell.partial)
                self.record.states.append(self.record.keep(seen) if self.keeps else 0)
                self._leave(number, seen)
            self.advance.apply()
        return self.cell.leave(found)

    def _node(self, node: int, states: Sequence[Tensor]) -> Tensor:
        self._free(node, states)
        terms: list[Term] = self._terms[node]
        record, wide = self.record, _wide(states[0])
        p, gate = self._p[node].to(wide), _to(self._gates[node], wide)
        z = [term.z for term in terms if term.z is not None]
        rows = [term.row for term in terms if term.row is not None]
        packed = torch.cat(rows, dim=1) if rows else p.new_zeros((4, 0, 1))
        record.terms.append(terms)
        record.packs.append(record.keep(packed) if self.keeps else 0)
        record.p.append(p)
        record.gates.append(gate)
        for term in terms:
            term.z = term.row = None  # what is needed again is kept, or computed anew
        if record.bypasses is not None and record.bypasses.edges[node]:
            return record.bypasses.mix(node, z, packed, p, gate, states, self.keeps)
        return mix(z, packed, p, gate) if z else channels_last(self.cell.empty(node, states))

    def _free(self, node: int, states: Sequence[Tensor]) -> None:
        """What reads no state is made in the order of the table, as by every executor: noise is drawn in one order."""
        for number, source in enumerate(self.layout.sources):
            for part in source.free:
                if part.node == node:
                    z = channels_last(part.body(take(states[number], self.cell.partial)))
                    slot = ("kept", self.record.keep(z), 0) if self.keeps else None
                    self._place(part, Term(z, plain(z.new_empty(z.shape[1], dtype=_wide(z)), 1), None, slot))

    def _leave(self, number: int, x: Tensor) -> None:
        """All that leaves state `number`, as terms of later nodes."""
        source = self.layout.sources[number]
        if source.branches:
            self._branches(number, source, x)
        if source.shares:
            self._shares(number, source, x)
        if source.stock:
            self._stock(number, source, x)

    def _branches(self, number: int, source: Source, x: Tensor) -> None:
        branches, seconds, m = source.branches, source.seconds, len(source.seconds)
        gate = None
        if self._gate is not None:
            gate = self._gate.index_select(0, self.layout.index(x.device, number)).to(_wide(x))
        dw, pw, dilation = arguments(source)
        eps = branches[0].first.norm.eps
        z1, mean, var, rstd = edge_group(x, dw, pw, dilation, source.stride, eps, gate)
        norms = [branch.first.norm for branch in branches]
        self.advance.add(norms, mean, var, pixels(z1[0]), gate)
        if self.keeps:
            self.record.z1[number] = self.record.keep(z1)
        packed = pack(norms, mean, var, rstd, eps)
        for i, branch in enumerate(branches[m:], start=m):
            self._place(branch, Term(z1[i], packed[:, i : i + 1], norms[i], ("z1", number, i)))
        if not m:
            return
        middle, eps = packed[:, :m], seconds[0].norm.eps
        if self.keeps:
            self.record.middle[number] = self.record.keep(middle)
        dw, pw = [half.depthwise.weight for half in seconds], [half.pointwise.weight for half in seconds]
        second = None if gate is None else gate[:m]
        z2, mean, var, rstd = sep_second(list(z1[:m].unbind()), *middle[:3].unbind(), dw, pw, eps, second)
        norms = [half.norm for half in seconds]
        self.advance.add(norms, mean, var, pixels(z2[0]), second)
        if self.keeps:
            self.record.z2[number] = self.record.keep(z2)
        packed = pack(norms, mean, var, rstd, eps)
        for i, branch in enumerate(branches[:m]):
            self._place(branch, Term(z2[i], packed[:, i : i + 1], norms[i], ("z2", number, i)))

    def _shares(self, number: int, source: Source, x: Tensor) -> None:
        like = x.new_empty(x.shape[1], dtype=_wide(x))
        normed = [share for share in source.shares if share.norm is not None]
        eps = normed[0].norm.eps if normed and normed[0].norm is not None else EPS
        if source.pooled:
            pooled, mean, var, rstd = pool_pair(x, source.stride, eps)
        for share in source.shares:
            z, row = (x if share.kind == 2 else pooled[share.kind]), plain(like, 1)
            if share.norm is not None:
                mine = slice(share.kind, share.kind + 1)
                row = pack([share.norm], mean[mine], var[mine], rstd[mine], eps)
                gate = self._gates[share.node]
                gate = None if gate is None else gate[share.term : share.term + 1]
                self.advance.add([share.norm], mean[mine], var[mine], pixels(z), gate)
            self._place(share, Term(z, row, share.norm, ("share", number, share.kind)))

    def _stock(self, number: int, source: Source, x: Tensor) -> None:
        like = x.new_empty(x.shape[1], dtype=_wide(x))
        outputs = []
        with torch.set_grad_enabled(self.keeps), self._autocast():
            leaf = x.detach().requires_grad_(self.keeps)
            rectified = F.relu(leaf) if any(stock.rectified for stock in source.stock) else leaf
            for stock in source.stock:
                z = stock.body(rectified if stock.rectified else leaf)
                outputs.append(channels_last(z.to(x.dtype)))
        for i, (stock, out) in enumerate(zip(source.stock, outputs, strict=True)):
            z, row = out.detach(), plain(like, 1)
            if stock.norm is not None:
                var, mean = torch.var_mean(z.to(like.dtype), (0, 2, 3), correction=0, keepdim=True)
                mean, var = mean.view(1, -1), var.view(1, -1)
                row = pack([stock.norm], mean, var, (var + stock.norm.eps).rsqrt(), stock.norm.eps)
                gate = self._gates[stock.node]
                gate = None if gate is None else gate[stock.term : stock.term + 1]
                self.advance.add([stock.norm], mean, var, pixels(z), gate)
            slot = ("kept", self.record.keep(z), i) if self.keeps else None
            self._place(stock, Term(z, row, stock.norm, slot))
        if self.keeps:
            self.record.stock[number] = leaf, [edge_of(out) for out in outputs]

    def _place(self, part: Any, term: Term) -> None:
        self._terms[part.node][part.term] = term


def arguments(source: Source) -> tuple[list[Tensor], list[Tensor], list[int]]:
    """(depthwise weights, pointwise weights, dilations) of a source's branches."""
    first = [branch.first for branch in source.branches]
    dilation = [half.depthwise.dilation[0] for half in first]
    return [half.depthwise.weight for half in first], [half.pointwise.weight for half in first], dilation


def _wide(x: Tensor) -> torch.dtype:
    """What statistics and sums are kept in."""
    return torch.promote_types(x.dtype, torch.float32)


def _to(gate: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if gate is None else gate.to(dtype)


@contextmanager
def _amp(device: torch.device) -> Iterator[Any]:
    """Off inside, for the operators are told their types; gives what switches it on again for stock operations."""
    on, dtype = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
    with torch.autocast(device.type, enabled=False):
        yield lambda: torch.autocast(device.type, dtype=dtype, enabled=on)
