"""One pass of a mixed cell through the fused operators, and its way back; fused.py makes a function of autograd of it.

    forwards   of each state:  edge group -> second halves;  pools;  stock operations
               of each node:   one sum over its terms, normalised and weighed
    backwards  of each node:   dL/dp and the coefficients a, b, c of each term's dz = a g + b z + c, in one read
               of each state:  second halves <- edge group <- coefficients, poolings and identities, in one write

Kept are the states, z1 and z2 (what stands before the norms), the stock outputs and [4, T, C] numbers; poolings and
everything between are computed again.
"""
# B batch, C channels, H height, W width, E edges, O operations, T terms of a node, n branches, m of them of two halves

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...cuda_kernels.pool_pair.pair import pool_pair
from ...cuda_kernels.separable.edge_group import edge_group
from ...cuda_kernels.separable.sep_second import sep_second
from ...cuda_kernels.tensors import channels_last, pixels
from ..cells.partial_channels import take
from .bypasses import Bypasses
from .inner_graphs import InnerGraph
from .layout import ITSELF, Candidate, Layout, Source, filters
from .node_sum import mix
from .norms import Advance, pack, plain
from .record import Kept, KeptTerm, NodeRecord, Record, RowOf, ShareOf, Slot

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["CellForward"]

EPS = nn.BatchNorm2d(1).eps  # where a pooling has no norm, nothing uses it


class _Term(NamedTuple):
    """One term of a node."""

    z: Tensor  # [B, C, H, W] before the norm
    packed: Tensor  # [4, 1, C] of the norm, see norms.py
    norm: nn.BatchNorm2d | None
    slot: Slot


class CellForward:
    """Forwards through one cell; `record` is what the way back needs, empty unless `keeps`."""

    def __init__(self, cell: "MixedCell", layout: Layout, p: Tensor, gate: Tensor | None, *, keeps: bool) -> None:
        """`p` [E, O]; `gate` [E, O] is 0 for what does not run, None where all that is in the layout does."""
        self.cell, self.layout = cell, layout
        self.record, self.advance = Record(keeps), Advance()
        self._gate = None if gate is None else gate.reshape(-1)
        flat = p.detach().reshape(-1).index_select(0, layout.index(p.device))
        self._p = flat.split(layout.counts)
        gates = None if self._gate is None else self._gate.index_select(0, layout.index(p.device)).split(layout.counts)
        self._gates: Sequence[Tensor | None] = gates or [None] * len(layout.counts)
        self._terms: list[dict[int, _Term]] = [{} for _ in layout.counts]  # of each node, by number
        self._autocast = _autocast_here(p.device)
        if cell.partial > 1:
            running = layout.running(p.device) if gate is None else gate
            self.record.bypasses = Bypasses(cell, p, running.to(p.dtype), layout.on)

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """The cell's output [B, C', H', W'] of its input states [B, C, H, W]."""
        with torch.autocast(inputs[0].device.type, enabled=False):  # the operators are told their types
            states = [channels_last(state) for state in inputs]
            for number in range(len(self.layout.sources)):
                if number >= len(inputs):
                    states.append(self._node(number - len(inputs), states))
                seen = take(states[number], self.cell.partial)
                self.record.states.append(self.record.keep(seen))
                self._leave(number, seen)
            self.advance.apply()
        return self.cell.leave(states)

    def _node(self, node: int, states: Sequence[Tensor]) -> Tensor:
        self._free(node, states)
        terms = [self._terms[node][term] for term in range(self.layout.counts[node])]
        self._terms[node].clear()  # what is needed again is kept, or computed anew
        wide = _wide(states[0])
        p, gate = self._p[node].to(wide), _to(self._gates[node], wide)
        packed = torch.cat([term.packed for term in terms], dim=1) if terms else p.new_zeros((4, 0, 1))
        records = tuple(KeptTerm(term.slot, term.norm) for term in terms)
        self.record.nodes.append(NodeRecord(records, self.record.keep(packed), p, gate))
        z, bypasses = [term.z for term in terms], self.record.bypasses
        if bypasses is not None and bypasses.edges[node]:
            return bypasses.mix(node, z, packed, p, gate, states, self.record.keeps)
        return mix(z, packed, p, gate) if z else channels_last(self.cell.empty(node, states))

    def _free(self, node: int, states: Sequence[Tensor]) -> None:
        """What reads no state is made in the order of the table, as by every executor: noise is drawn in one order."""
        for number, source in enumerate(self.layout.sources):
            for candidate in source.free:
                if candidate.node == node:
                    z = channels_last(candidate.body(take(states[number], self.cell.partial)))
                    packed = plain(z.new_empty(z.shape[1], dtype=_wide(z)), 1)
                    self._place(candidate, _Term(z, packed, None, Kept(self.record.keep(z))))

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
        m, gate = len(source.seconds), self._branch_gate(number, x)
        z1, packed = self._first_halves(number, source, x, gate)
        for i, branch in enumerate(source.branches[m:], start=m):
            slot = RowOf(self.record.z1[number], i)
            self._place(branch, _Term(z1[i], packed[:, i : i + 1], branch.first.norm, slot))
        if not m:
            return
        middle = packed[:, :m]
        self.record.middle[number] = self.record.keep(middle)
        z2, packed = self._second_halves(number, source, None if gate is None else gate[:m], z1[:m], middle)
        for i, branch in enumerate(source.branches[:m]):
            slot = RowOf(self.record.z2[number], i)
            self._place(branch, _Term(z2[i], packed[:, i : i + 1], branch.last.norm, slot))

    def _first_halves(self, number: int, source: Source, x: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
        """(z1 [n, B, C, H', W'], [4, n, C] of its norms); `gate` [n]."""
        dw, pw = filters(source.firsts)
        norms = [half.norm for half in source.firsts]
        z1, mean, var, rstd = edge_group(x, dw, pw, source.dilations, source.stride, norms[0].eps, gate)
        self.advance.add(norms, mean, var, pixels(z1[0]), gate)
        self.record.z1[number] = self.record.keep(z1)
        return z1, pack(norms, mean, var, rstd, norms[0].eps)

    def _second_halves(
        self, number: int, source: Source, gate: Tensor | None, z1: Tensor, middle: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(z2 [m, B, C, H', W'], [4, m, C] of its norms) of z1 and the norms between; `gate` [m]."""
        dw, pw = filters(source.seconds)
        norms = [half.norm for half in source.seconds]
        z2, mean, var, rstd = sep_second(list(z1.unbind()), *middle[:3].unbind(), dw, pw, norms[0].eps, gate)
        self.advance.add(norms, mean, var, pixels(z2[0]), gate)
        self.record.z2[number] = self.record.keep(z2)
        return z2, pack(norms, mean, var, rstd, norms[0].eps)

    def _shares(self, number: int, source: Source, x: Tensor) -> None:
        """Poolings, and the state itself."""
        like = x.new_empty(x.shape[1], dtype=_wide(x))
        eps = next((share.norm.eps for share in source.shares if share.norm is not None), EPS)
        if source.pooled:
            pooled, *statistics = pool_pair(x, source.stride, eps)
        for share in source.shares:
            z = x if share.kind == ITSELF else pooled[share.kind]
            if share.norm is None:
                packed = plain(like, 1)
            else:
                mean, var, rstd = (values[share.kind : share.kind + 1] for values in statistics)
                packed = self._normed(share, share.norm, mean, var, rstd, eps, pixels(z))
            self._place(share, _Term(z, packed, share.norm, ShareOf(number, share.kind)))

    def _stock(self, number: int, source: Source, x: Tensor) -> None:
        like = x.new_empty(x.shape[1], dtype=_wide(x))
        for stock, z in zip(source.stock, self._stock_outputs(number, source, x), strict=True):
            if stock.norm is None:
                packed = plain(like, 1)
            else:
                var, mean = torch.var_mean(z.to(like.dtype), (0, 2, 3), correction=0, keepdim=True)
                mean, var, eps = mean.view(1, -1), var.view(1, -1), stock.norm.eps
                packed = self._normed(stock, stock.norm, mean, var, (var + eps).rsqrt(), eps, pixels(z))
            self._place(stock, _Term(z, packed, stock.norm, Kept(self.record.keep(z))))

    def _stock_outputs(self, number: int, source: Source, x: Tensor) -> list[Tensor]:
        """[B, C, H', W'] of each stock operation, on a graph of its own."""
        keeps = self.record.keeps
        with torch.set_grad_enabled(keeps), self._autocast():
            leaf = x.detach().requires_grad_(keeps)
            rectified = F.relu(leaf) if any(stock.rectified for stock in source.stock) else leaf
            outputs = [
                channels_last(stock.body(rectified if stock.rectified else leaf).to(x.dtype)) for stock in source.stock
            ]
        if keeps:
            self.record.stock[number] = InnerGraph.of(leaf, outputs)
        return [z.detach() for z in outputs]

    def _normed(
        self, candidate: Candidate, norm: nn.BatchNorm2d,
        mean: Tensor, var: Tensor, rstd: Tensor, eps: float, count: int,
    ) -> Tensor:  # fmt: skip
        """[4, 1, C] of a candidate's norm over `count` pixels of these statistics [1, C], which it is to remember."""
        gate = self._gates[candidate.node]
        gate = None if gate is None else gate[candidate.term : candidate.term + 1]
        packed = pack([norm], mean, var, rstd, eps)
        self.advance.add([norm], mean, var, count, gate)
        return packed

    def _branch_gate(self, number: int, x: Tensor) -> Tensor | None:
        """[n] of a source's branches."""
        return (
            None if self._gate is None else self._gate.index_select(0, self.layout.index(x.device, number)).to(_wide(x))
        )

    def _place(self, candidate: Candidate, term: _Term) -> None:
        self._terms[candidate.node][candidate.term] = term


def _wide(x: Tensor) -> torch.dtype:
    """The type of small numbers: float32, or what is wider."""
    return torch.promote_types(x.dtype, torch.float32)


def _to(gate: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if gate is None else gate.to(dtype)


def _autocast_here(device: torch.device) -> Callable[[], AbstractContextManager[object]]:
    """What switches autocast to where it stands now, for stock operations where it is off."""
    kind = device.type
    return partial(torch.autocast, kind, dtype=torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind))
