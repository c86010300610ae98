"""The way back through a mixed cell: see cell_pass.py."""
# B batch, C channels, H height, W width, E edges, O operations, T terms of a node, n branches

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...cuda_kernels.node_mix.mix import node_mix
from ...cuda_kernels.pool_pair.pair import pool_pair, pool_pair_bwd
from ...cuda_kernels.separable.edge_group import edge_group_bwd
from ...cuda_kernels.separable.sep_second import sep_second_bwd
from ...cuda_kernels.tensors import channels_last
from .cell_forward import EPS, Record, arguments
from .inner_graphs import go_back
from .layout import Layout, Share, Source
from .node_sum import unmix

if TYPE_CHECKING:
    from ..cell import MixedCell

__all__ = ["CellBackward"]


class CellBackward:
    """Backwards through one cell: `run` gives the inputs' gradients, `weights` the parameters', `dp` that of p."""

    def __init__(
        self, cell: "MixedCell", layout: Layout, record: Record, kept: Sequence[Tensor], weights: bool
    ) -> None:
        self.cell, self.layout, self.record, self.kept = cell, layout, record, kept
        if record.bypasses is not None:
            record.bypasses.forget()  # what an earlier way back through the same graph has noted
        self.wants_weights = weights
        self.weights: dict[nn.Parameter, Tensor] = {}
        self._g: dict[int, Tensor] = {}  # of a node
        self._coef: dict[int, Tensor] = {}  # [T, 3, C] of a node
        self._dp: dict[int, Tensor] = {}
        self._pooled: dict[int, Tensor] = {}

    def run(self, g: Tensor, needed: Sequence[bool]) -> list[Tensor | None]:
        """The gradients of the input states that are needed; `g` is that of the cell's output."""
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
        """The gradient of p [E, O]; 0 for what did not run."""
        found = like.new_zeros(shape)
        if self._dp:
            flat = torch.cat([self._dp[node] for node in sorted(self._dp)]).to(like.dtype)
            found.view(-1).index_copy_(0, self.layout.index(like.device), flat)
        return found if self.record.bypasses is None else self.record.bypasses.add_to(found)

    def _pieces(self, g: Tensor) -> dict[int, Tensor]:
        """What the cell's output hands back to each state that it is made of."""
        concat, found = self.cell.concat, dict[int, Tensor]()
        if len(concat) == 1:
            return {concat[0]: channels_last(g)}
        for state, part in zip(concat, g.chunk(len(concat), dim=1), strict=True):
            part = channels_last(part)
            found[state] = found[state] + part if state in found else part
        return found

    def _unmix(self, node: int, g: Tensor) -> None:
        record, terms = self.record, self.record.terms[node]
        if record.bypasses is not None and record.bypasses.edges[node]:
            g = record.bypasses.unmix(node, g)
        if not terms:
            return
        p, gate, packed = record.p[node], record.gates[node], self.kept[record.packs[node]]
        z, rstd = [self._tensor(term.slot) for term in terms], packed[3]
        dp, sum_g, sum_gz, coef = unmix(g, z, packed, p, gate)
        self._g[node], self._coef[node], self._dp[node] = g, coef, dp
        if self.wants_weights:
            weight = p if gate is None else torch.where(gate != 0, p, torch.zeros_like(p))
            for t, term in enumerate(terms):
                if term.norm is not None and term.norm.affine:
                    self._affine(term.norm, weight[t] * sum_g, weight[t] * sum_gz[t], rstd[t])

    def _tensor(self, slot: tuple[str, int, int]) -> Tensor:
        where, number, i = slot
        if where == "kept":
            return self.kept[number]
        if where == "share":
            return self.kept[self.record.states[number]] if i == 2 else self._pools(number)[i]
        return self.kept[(self.record.z1 if where == "z1" else self.record.z2)[number]][i]

    def _pools(self, number: int) -> Tensor:
        if number not in self._pooled:
            x, stride = self.kept[self.record.states[number]], self.layout.sources[number].stride
            self._pooled[number] = pool_pair(x, stride, EPS)[0]
        return self._pooled[number]

    def _affine(self, norm: nn.BatchNorm2d, d_shift: Tensor, sum_dz: Tensor, rstd: Tensor) -> None:
        """Gradients of a norm's own scale and shift; `sum_dz` is the sum of d (z - mean)."""
        if norm.running_var is not None:  # constants in the forward pass: rstd is 0
            rstd = torch.where(rstd == 0, (norm.running_var.to(rstd.dtype) + norm.eps).rsqrt(), rstd)
        self._give(norm.weight, rstd * sum_dz)
        self._give(norm.bias, d_shift)

    def _give(self, parameter: nn.Parameter | None, gradient: Tensor) -> None:
        if parameter is not None and parameter.requires_grad:
            before = self.weights.get(parameter)
            self.weights[parameter] = gradient.to(parameter.dtype) if before is None else before + gradient

    def _state(self, number: int, piece: Tensor | None) -> Tensor:
        """The gradient of state `number`, once those of all nodes that it leads to are known."""
        bypasses, x = self.record.bypasses, self.kept[self.record.states[number]]
        if bypasses is not None:
            like = x.new_empty(()).expand(x.shape[0], bypasses.seen * bypasses.k, *x.shape[2:])
            part = None if piece is None else channels_last(piece[:, : bypasses.seen])
            return bypasses.whole(number, self._return(number, part), piece, like)
        dx = self._return(number, piece)
        return channels_last(torch.zeros_like(x)) if dx is None else dx

    def _return(self, number: int, piece: Tensor | None) -> Tensor | None:
        """The same, of what the operations see."""
        source = self.layout.sources[number]
        x = self.kept[self.record.states[number]]
        dx = self._shares(number, source, x, piece)
        if source.stock:
            more = self._stock(number, source)
            dx = more if dx is None else more if more is None else dx + more
        if source.branches:
            dx = self._branches(number, source, x, dx)
        return dx

    def _shares(self, number: int, source: Source, x: Tensor, piece: Tensor | None) -> Tensor | None:
        """Poolings, identities and `piece` in one pass."""
        if not source.shares:
            return piece
        nodes = sorted({share.node for share in source.shares})
        g = [self._g[node] for node in nodes]
        like = self._coef[nodes[0]][0, 0]
        zero, one = torch.zeros_like(like), torch.ones_like(like)
        columns = [[self._sum(source.shares, kind, node, 0, zero) for node in nodes] for kind in range(3)]
        inside = piece is not None and source.stride == 1
        if piece is not None and inside:
            g.append(piece)
            columns = [[*columns[0], zero], [*columns[1], zero], [*columns[2], one]]
        if source.pooled:
            factor = torch.stack([row for kind in columns for row in kind]).view(3, len(g), -1)
            b, c = (torch.stack([self._sum(source.shares, kind, None, j, zero) for kind in range(2)]) for j in (1, 2))
            dx = pool_pair_bwd(x, self._pools(number), g, factor, b, c, source.stride)
        else:
            factor = torch.stack(columns[2])
            dx = node_mix(g, torch.zeros_like(factor), factor, torch.zeros_like(factor), factor.new_ones(len(g)))
        return dx if piece is None or inside else dx + piece

    def _sum(self, shares: Sequence[Share], kind: int, node: int | None, j: int, zero: Tensor) -> Tensor:
        """Coefficient `j` [C] of all shares of this kind that enter `node` (None: any), added."""
        found = [
            self._coef[share.node][share.term, j]
            for share in shares
            if share.kind == kind and node in (None, share.node)
        ]
        return sum(found[1:], found[0]) if found else zero

    def _stock(self, number: int, source: Source) -> Tensor | None:
        leaf, edges = self.record.stock[number]
        back = []
        for stock in source.stock:
            z = self._tensor(self.record.terms[stock.node][stock.term].slot)
            a, b, c = (row.view(-1, 1, 1) for row in self._coef[stock.node][stock.term].unbind())
            dz, gate = a * self._g[stock.node] + b * z + c, self.record.gates[stock.node]
            if gate is not None:  # what does not run may hold anything, and 0 * NaN is NaN
                dz = torch.where(gate[stock.term] != 0, dz, torch.zeros_like(dz))
            back.append(dz.to(z.dtype))
        bodies = [p for stock in source.stock for p in stock.body.parameters() if p.requires_grad]
        parameters = list(dict.fromkeys(bodies)) if self.wants_weights else []
        found = go_back(edges, back, [leaf, *parameters])
        for parameter, gradient in zip(parameters, found[1:], strict=True):
            if gradient is not None:
                self._give(parameter, gradient)
        return None if found[0] is None else channels_last(found[0])

    def _branches(self, number: int, source: Source, x: Tensor, add: Tensor | None) -> Tensor:
        branches, m = source.branches, len(source.seconds)
        g = [self._g[branch.node] for branch in branches]
        coef = torch.stack([self._coef[branch.node][branch.term] for branch in branches])
        gate = self._gate(source)
        z1 = self.kept[self.record.z1[number]]
        if m:
            d1, coef1 = self._seconds(number, source, z1, g[:m], coef[:m], None if gate is None else gate[:m])
            g, coef = [*d1.unbind(), *g[m:]], torch.cat([coef1, coef[m:]])
        dw, pw, dilation = arguments(source)
        weights = self.wants_weights
        dx, ddw, dpw = edge_group_bwd(x, dw, pw, dilation, source.stride, g, z1, coef, add, weights, gate)
        for parameter, gradient in zip([*dw, *pw], [*ddw, *dpw], strict=True) if weights else ():
            self._give(parameter, gradient)  # type: ignore[arg-type]
        return dx

    def _seconds(
        self, number: int, source: Source, z1: Tensor, g: list[Tensor], coef: Tensor, gate: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        m, halves, weights = len(g), source.seconds, self.wants_weights
        mean, scale, shift, rstd = self.kept[self.record.middle[number]].unbind()
        dw, pw = [half.depthwise.weight for half in halves], [half.pointwise.weight for half in halves]
        z2 = self.kept[self.record.z2[number]]
        d1, coef1, sum_d, sum_dz, ddw, dpw = sep_second_bwd(
            list(z1[:m].unbind()), mean, scale, shift, rstd, dw, pw, g, z2, coef, weights, gate
        )
        if weights:
            for parameter, gradient in zip([*dw, *pw], [*ddw, *dpw], strict=True):
                self._give(parameter, gradient)  # type: ignore[arg-type]
            for i, branch in enumerate(source.branches[:m]):
                if branch.first.norm.affine:
                    self._affine(branch.first.norm, sum_d[i], sum_dz[i], rstd[i])
        return d1, coef1

    def _gate(self, source: Source) -> Tensor | None:
        """[n] of a source's branches."""
        found = []
        for branch in source.branches:
            gate = self.record.gates[branch.node]
            if gate is None:
                return None
            found.append(gate[branch.term])
        return torch.stack(found)
