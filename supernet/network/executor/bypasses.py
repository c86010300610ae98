"""What passes by the operations of a cell with partial channels (partial_channels.py), forwards and backwards.

node = shuffle([mix, sum_e beta_e bypass(state_e)[c :]]),     beta_e = sum of row e of p over what runs
"""
# B batch, C channels, c = C / k those that operations see, H height, W width, E edges, O operations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ...cuda_kernels.node_mix.shuffled import node_mix_shuffled, shuffle, unshuffle
from ...cuda_kernels.tensors import channels_last
from ..cells.partial_channels import bypass
from .inner_graphs import InnerGraph
from .node_sum import MOST_TERMS, mix

if TYPE_CHECKING:
    from ..cells.cell import MixedCell

__all__ = ["Bypasses"]


class _Edge(NamedTuple):
    source: int
    row: int


class _Passed(NamedTuple):
    """A state [B, C, H, W] as it passes by, and the graph of the pooling where one lies between."""

    whole: Tensor
    graph: InnerGraph | None


class Bypasses:
    """The bypass of every running edge of one cell during one pass and its way back."""

    def __init__(self, cell: "MixedCell", p: Tensor, running: Tensor, on: Sequence[bool]) -> None:
        """`p` and `running` [E, O], 1 for what runs; `on` says which edges have anything that runs, on the host."""
        self.k, self.seen = cell.partial, cell.plan.channels // cell.partial
        self._running, self._p = running, p
        self._beta = (p.detach() * running).sum(1)
        self._strides = [cell.stride(state) for state in range(len(cell.plan.c_inputs) + cell.nodes)]
        self.edges = [
            [_Edge(edge.source, edge.row) for edge in cell.incoming(node) if on[edge.row]] for node in range(cell.nodes)
        ]
        self._passed: dict[int, _Passed] = {}
        self._returned: dict[int, list[Tensor]] = {}  # gradients of a state's bypass, at the size of the nodes
        self._d_beta: dict[int, Tensor] = {}  # of a row

    def mix(
        self,
        node: int,
        z: list[Tensor],
        packed: Tensor,
        p: Tensor,
        gate: Tensor | None,
        states: Sequence[Tensor],
        keeps: bool,
    ) -> Tensor:  # fmt: skip
        """The node [B, C, H, W] of the terms `z` [B, c, H, W] and the edges' bypasses of `states` [B, C, H, W].

        `packed` [4, T, c] has the terms' norms, `p` [T] their weights; those whose `gate` [T] is 0 do not run.
        """
        passed = [self._pass(edge.source, states[edge.source], keeps).whole for edge in self.edges[node]]
        beta = torch.stack([self._beta[edge.row] for edge in self.edges[node]]).to(p.dtype)
        if z and gate is None and len(z) <= MOST_TERMS:
            return node_mix_shuffled(z, *packed[:3].unbind(), p, passed, beta, self.k)
        if z:  # a gated term must not be read, which only the plain sum knows how to
            mixed = mix(z, packed, p, gate)
        else:
            mixed = passed[0].new_zeros((passed[0].shape[0], self.seen, *passed[0].shape[2:]))
        return channels_last(shuffle(mixed, passed, beta, self.k).to(mixed.dtype))

    def _pass(self, source: int, x: Tensor, keeps: bool) -> _Passed:
        if source not in self._passed:
            if self._strides[source] == 1:
                self._passed[source] = _Passed(x.detach(), None)
            else:
                with torch.set_grad_enabled(keeps):
                    leaf = x.detach().requires_grad_(keeps)
                    pooled = bypass(leaf, 2)
                self._passed[source] = _Passed(pooled.detach(), InnerGraph.of(leaf, [pooled]))
        return self._passed[source]

    def forget(self) -> None:
        """What a way back has noted."""
        self._returned.clear()
        self._d_beta.clear()

    def clear(self) -> None:
        """All that is held."""
        self.forget()
        self._passed.clear()

    def unmix(self, node: int, g: Tensor) -> Tensor:
        """The gradient of the mix [B, c, H, W] of a node's `g` [B, C, H, W]; notes what the bypasses take."""
        mixed, rest = unshuffle(g, self.k)
        for edge in self.edges[node]:
            seen = self._passed[edge.source].whole[:, self.seen :]
            self._d_beta[edge.row] = (rest * seen).sum(dtype=self._beta.dtype)
            self._returned.setdefault(edge.source, []).append(rest * self._beta[edge.row].to(rest.dtype))
        return mixed

    def whole(self, source: int, dx: Tensor | None, piece: Tensor | None, like: Tensor) -> Tensor:
        """The gradient [B, C, H, W] of a whole state, of the shape and type of `like`.

        It is `dx` [B, c, H, W] of what operations saw, then its bypass's and the rest of `piece` [B, C, H, W].
        """
        whole = torch.zeros_like(like, memory_format=torch.channels_last)
        if dx is not None:
            whole[:, : self.seen] = dx
        if piece is not None:
            whole[:, self.seen :] = piece[:, self.seen :]
        if source in self._returned:
            total = sum(self._returned[source][1:], self._returned[source][0])
            graph = self._passed[source].graph
            if graph is not None:
                full = torch.cat([total.new_zeros((*total.shape[:1], self.seen, *total.shape[2:])), total], 1)
                (back,) = graph.back([full])
                total = total.new_zeros(()) if back is None else back[:, self.seen :]
            whole[:, self.seen :] += total
        return whole

    def add_to(self, dp: Tensor) -> Tensor:
        """`dp` [E, O] with what goes through the bypass's weights."""
        rows = [self._d_beta.get(row, dp.new_zeros(())) for row in range(dp.shape[0])]
        return dp + torch.stack(rows)[:, None] * self._running.to(dp.dtype)
