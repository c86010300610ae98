"""The way back through a mixed cell: see cell_forward.py."""
# B batch, C channels, H height, W width, E edges, O operations, T terms of a node, n branches, m of them of two halves

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...cuda_kernels.node_mix.mix import node_mix
from ...cuda_kernels.pool_pair.pair import pool_pair, pool_pair_bwd
from ...cuda_kernels.separable.edge_group import edge_group_bwd
from ...cuda_kernels.separable.sep_second import sep_second_bwd
from ...cuda_kernels.tensors import channels_last
from .cell_forward import EPS
from .layout import AVERAGE, ITSELF, MAXIMUM, Layout, Share, Source, filters
from .node_sum import unmix
from .record import Kept, Record, RowOf, Slot

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["CellBackward"]

OF_G, OF_Z, CONSTANT = range(3)  # the places of a, b and c of a term's dz = a g + b z + c


class CellBackward:
    """Backwards through one cell: `run` gives the inputs' gradients, `weights` the parameters', `dp` that of p."""

    def __init__(
        self, cell: "MixedCell", layout: Layout, record: Record, tensors: Sequence[Tensor], wants_weights: bool
    ) -> None:
        """`tensors` are those whose numbers `record` has."""
        self.cell, self.layout, self.record, self.tensors = cell, layout, record, tensors
        if record.bypasses is not None:
            record.bypasses.forget()  # what an earlier way back through the same graph has noted
        self.wants_weights = wants_weights
        self.weights: dict[Tensor, Tensor] = {}  # parameter -> its gradient
        self._g: dict[int, Tensor] = {}  # [B, C, H, W] of a node
        self._coef: dict[int, Tensor] = {}  # [T, 3, C] of a node
        self._dp: dict[int, Tensor] = {}  # [T] of a node
        self._pooled: dict[int, Tensor] = {}  # [2, B, C, H, W] of a source

    def run(self, g: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
        """The gradients [B, C, H, W] of the input states that are needed; `g` is that of the cell's output."""
        inputs, pieces = len(needed), self._pieces(g)
        states: list[Tensor | None] = [None] * inputs
        for number in reversed(range(len(self.layout.sources))):
            if number >= inputs or needed[number] or self.wants_weights:
                dx = self._state(number, pieces.get(number))
                if number >= inputs:
                    self._unmix(number - inputs, dx)
                else:
                    states[number] = dx
            self._pooled.pop(number, None)
        return states

    def dp(self, shape: torch.Size, like: Tensor) -> Tensor:
        """The gradient of p [E, O], in the type of `like`; 0 for what did not run."""
        total = like.new_zeros(shape)
        if self._dp:
            flat = torch.cat([self._dp[node] for node in sorted(self._dp)]).to(like.dtype)
            total.view(-1).index_copy_(0, self.layout.index(like.device), flat)
        return total if self.record.bypasses is None else self.record.bypasses.add_to(total)

    def _pieces(self, g: Tensor) -> dict[int, Tensor]:
        """What the cell's output hands back to each state that it is made of."""
        concat, pieces = self.cell.concat, dict[int, Tensor]()
        if len(concat) == 1:
            return {concat[0]: channels_last(g)}
        for state, part in zip(concat, g.chunk(len(concat), dim=1), strict=True):
            part = channels_last(part)
            pieces[state] = pieces[state] + part if state in pieces else part
        return pieces

    def _unmix(self, node: int, g: Tensor) -> None:
        """From a node's gradient to dL/dp, the coefficients of its terms, and their norms' parameters."""
        record, bypasses = self.record.nodes[node], self.record.bypasses
        if bypasses is not None and bypasses.edges[node]:
            g = bypasses.unmix(node, g)
        if not record.terms:
            return
        p, gate, packed = record.p, record.gate, self.tensors[record.packed]
        z, rstd = [self._tensor(term.slot) for term in record.terms], packed[3]
        dp, sum_g, sum_gz, coef = unmix(g, z, packed, p, gate)
        self._g[node], self._coef[node], self._dp[node] = g, coef, dp
        if self.wants_weights:
            weight = p if gate is None else torch.where(gate != 0, p, torch.zeros_like(p))
            for t, term in enumerate(record.terms):
                if term.norm is not None and term.norm.affine:
                    self._affine(term.norm, weight[t] * sum_g, weight[t] * sum_gz[t], rstd[t])

    def _tensor(self, slot: Slot) -> Tensor:
        """[B, C, H, W] of a term."""
        if isinstance(slot, Kept):
            return self.tensors[slot.number]
        if isinstance(slot, RowOf):
            return self.tensors[slot.number][slot.row]
        return self._seen(slot.source) if slot.kind == ITSELF else self._pools(slot.source)[slot.kind]

    def _seen(self, number: int) -> Tensor:
        """What the operations see of a state."""
        return self.tensors[self.record.states[number]]

    def _pools(self, number: int) -> Tensor:
        """[2, B, C, H', W'] of a source."""
        if number not in self._pooled:
            self._pooled[number] = pool_pair(self._seen(number), self.layout.sources[number].stride, EPS)[0]
        return self._pooled[number]

    def _affine(self, norm: nn.BatchNorm2d, d_shift: Tensor, sum_dz: Tensor, rstd: Tensor) -> None:
        """Gradients [C] of a norm's own scale and shift; `sum_dz` is the sum of d (z - mean)."""
        if norm.running_var is not None:  # constants in the forward pass: rstd is 0
            rstd = torch.where(rstd == 0, (norm.running_var.to(rstd.dtype) + norm.eps).rsqrt(), rstd)
        self._give(norm.weight, rstd * sum_dz)
        self._give(norm.bias, d_shift)

    def _give(self, parameter: Tensor | None, gradient: Tensor) -> None:
        if parameter is not None and parameter.requires_grad:
            before = self.weights.get(parameter)
            self.weights[parameter] = gradient.to(parameter.dtype) if before is None else before + gradient

    def _state(self, number: int, piece: Tensor | None) -> Tensor:
        """The gradient of state `number`, once those of all nodes that it leads to are known."""
        bypasses, x = self.record.bypasses, self._seen(number)
        if bypasses is not None:
            like = x.new_empty(()).expand(x.shape[0], bypasses.seen * bypasses.k, *x.shape[2:])
            part = None if piece is None else channels_last(piece[:, : bypasses.seen])
            return bypasses.whole(number, self._operations(number, part), piece, like)
        dx = self._operations(number, piece)
        return channels_last(torch.zeros_like(x)) if dx is None else dx

    def _operations(self, number: int, piece: Tensor | None) -> Tensor | None:
        """The gradient of what the operations see of state `number`, `piece` added; None for no gradient at all."""
        source, x = self.layout.sources[number], self._seen(number)
        dx = self._shares(number, source, x, piece)
        if source.stock:
            more = self._stock(number, source)
            dx = more if dx is None else dx if more is None else dx + more
        if source.branches:
            dx = self._branches(number, source, x, dx)
        return dx

    def _shares(self, number: int, source: Source, x: Tensor, piece: Tensor | None) -> Tensor | None:
        """Poolings, identities and, where it has their size, `piece` in one pass."""
        if not source.shares:
            return piece
        nodes = sorted({share.node for share in source.shares})
        g = [self._g[node] for node in nodes]
        like = self._coef[nodes[0]][0, 0]
        zero, one = torch.zeros_like(like), torch.ones_like(like)
        kinds = [[share for share in source.shares if share.kind == kind] for kind in (MAXIMUM, AVERAGE, ITSELF)]
        factors = [[self._sum([s for s in kind if s.node == node], OF_G, zero) for node in nodes] for kind in kinds]
        inside = piece is not None and source.stride == 1
        if piece is not None and inside:
            g.append(piece)
            for row, factor in zip(factors, (zero, zero, one), strict=True):
                row.append(factor)
        if source.pooled:
            factor = torch.stack([factor for row in factors for factor in row]).view(3, len(g), -1)
            b, c = (torch.stack([self._sum(kind, j, zero) for kind in kinds[:ITSELF]]) for j in (OF_Z, CONSTANT))
            dx = pool_pair_bwd(x, self._pools(number), g, factor, b, c, source.stride)
        else:
            factor = torch.stack(factors[ITSELF])
            dx = node_mix(g, torch.zeros_like(factor), factor, torch.zeros_like(factor), factor.new_ones(len(g)))
        return dx if piece is None or inside else dx + piece

    def _sum(self, shares: Sequence[Share], j: int, zero: Tensor) -> Tensor:
        """Coefficient `j` [C] of all `shares`, added."""
        rows = [self._coef[share.node][share.term, j] for share in shares]
        return sum(rows[1:], rows[0]) if rows else zero

    def _stock(self, number: int, source: Source) -> Tensor | None:
        upstream = []
        for stock in source.stock:
            record = self.record.nodes[stock.node]
            z = self._tensor(record.terms[stock.term].slot)
            a, b, c = (row.view(-1, 1, 1) for row in self._coef[stock.node][stock.term].unbind())
            dz = a * self._g[stock.node] + b * z + c
            if record.gate is not None:  # what does not run may hold anything, and 0 * NaN is NaN
                dz = torch.where(record.gate[stock.term] != 0, dz, torch.zeros_like(dz))
            upstream.append(dz.to(z.dtype))
        learned = [p for stock in source.stock for p in stock.body.parameters() if p.requires_grad]
        parameters = list(dict.fromkeys(learned)) if self.wants_weights else []
        dx, *gradients = self.record.stock[number].back(upstream, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                self._give(parameter, gradient)
        return None if dx is None else channels_last(dx)

    def _branches(self, number: int, source: Source, x: Tensor, add: Tensor | None) -> Tensor:
        """The gradient of the state, `add` added, through all branches."""
        branches, m = source.branches, len(source.seconds)
        g = [self._g[branch.node] for branch in branches]
        coef = torch.stack([self._coef[branch.node][branch.term] for branch in branches])
        gate = self._gate(source)
        z1 = self.tensors[self.record.z1[number]]
        if m:
            d1, coef1 = self._seconds(number, source, z1, g[:m], coef[:m], None if gate is None else gate[:m])
            g, coef = [*d1.unbind(), *g[m:]], torch.cat([coef1, coef[m:]])
        dw, pw = filters(source.firsts)
        dx, ddw, dpw = edge_group_bwd(
            x, dw, pw, source.dilations, source.stride, g, z1, coef, add, self.wants_weights, gate
        )
        if self.wants_weights:
            for parameter, gradient in zip([*dw, *pw], [*ddw, *dpw], strict=True):
                self._give(parameter, gradient)
        return dx

    def _seconds(
        self, number: int, source: Source, z1: Tensor, g: list[Tensor], coef: Tensor, gate: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The upstream gradients [m, B, C, H', W'] and coefficients [m, 3, C] of the first halves of m branches."""
        m = len(g)
        mean, scale, shift, rstd = self.tensors[self.record.middle[number]].unbind()
        dw, pw = filters(source.seconds)
        z2 = self.tensors[self.record.z2[number]]
        d1, coef1, sum_d, sum_dz, ddw, dpw = sep_second_bwd(
            list(z1[:m].unbind()), mean, scale, shift, rstd, dw, pw, g, z2, coef, self.wants_weights, gate
        )
        if self.wants_weights:
            for parameter, gradient in zip([*dw, *pw], [*ddw, *dpw], strict=True):
                self._give(parameter, gradient)
            for i, half in enumerate(source.firsts[:m]):
                if half.norm.affine:
                    self._affine(half.norm, sum_d[i], sum_dz[i], rstd[i])
        return d1, coef1

    def _gate(self, source: Source) -> Tensor | None:
        """[n] of a source's branches; None where all of them run."""
        gates = []
        for branch in source.branches:
            gate = self.record.nodes[branch.node].gate
            if gate is None:
                return None
            gates.append(gate[branch.term])
        return torch.stack(gates)
