"""The recurrent cell of DARTS (arXiv:1806.09055, sections 2.1 and 3.1.2), relaxed and discrete.

One step reads the input x and the hidden state h. All products are highway updates of a state s by an activation f:

    highway(s, [c, z], f) = s + sigmoid(c) * (f(z) - s)

    s_0 = highway(h, W_x x + W_h h, tanh)
    s_i = sum over j < i and o of p[j-i, o] * highway(s_j, W_i s_j, o)      relaxed; "none" adds nothing
    s_i = highway(s_j, W_i s_j, o)                                          discrete: the j and o that were taken
    h'  = mean of s_1 .. s_n                                                (of the states that the output joins)

W_i is one matrix a node, whatever is taken, so a discrete cell has the very weights of its supernet. The relaxed states
add up over their predecessors and would grow from step to step: a norm without scale and shift stands behind each
state in the search, and is left out in the final network, as in the paper. The paper takes batch norm; the default is
layer norm, because in evaluation batch norm has fixed statistics, which nothing holds the states to: a search with it
ended at a loss of 1e15 on its validation part.
"""
# B batch, T time steps, H hidden units, R predecessors that enter a node

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import SupernetError, unknown
from ...registry import Registry
from ...space.cells import CellSpace
from ...space.graph import CellGraph
from ..mixture import HostMask, Mask, split_gate

__all__ = ["ACTIVATIONS", "NORMS", "DiscreteRecurrentCell", "MixedRecurrentCell"]

Activation = Callable[[Tensor], Tensor]
MOST_MASKS = 64  # whose indices a cell keeps: a sampler of paths asks for other ones at each step

ACTIVATIONS: Registry[Activation] = Registry("activation of a recurrent cell")
for _name, _function in {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}.items():
    ACTIVATIONS.register(_name)(_function)


@ACTIVATIONS.register("identity")
def identity(z: Tensor) -> Tensor:
    """z itself, of any shape."""
    return z


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": lambda hidden: nn.BatchNorm1d(hidden, affine=False),
    "layer": lambda hidden: nn.LayerNorm(hidden, elementwise_affine=False),
    "none": lambda hidden: nn.Identity(),
}


class _RecurrentCell(nn.Module):
    """The weights of a cell, and the loop over time."""

    def __init__(self, nodes: int, concat: Sequence[int], hidden: int, norm: str) -> None:
        super().__init__()
        if norm not in NORMS:
            raise SupernetError(unknown("norm of a recurrent cell", norm, NORMS))
        self.concat, self.hidden = tuple(concat), hidden
        self.w_x, self.w_h = (nn.Linear(hidden, 2 * hidden, bias=False) for _ in range(2))
        self.w = nn.ModuleList(nn.Linear(hidden, 2 * hidden, bias=False) for _ in range(nodes))
        self.norms = nn.ModuleList(NORMS[norm](hidden) for _ in range(nodes + 1))

    def unroll(self, x: Tensor, node: Callable[[int, list[Tensor]], Tensor | None]) -> Tensor:
        """Hidden states [B, T, H] behind each step, from a hidden state of zeros; x is [B, T, H].

        `node(i, states)` gives the state of node i (from 0) from all earlier states [B, H], or None where it is zero.
        """
        outputs = []
        mixed = self.w_x(x)
        h = mixed.new_zeros(x.shape[0], self.hidden)  # len(x) would fix the batch in torch.export
        for x_t in mixed.unbind(1):
            states = [self.norms[0](_highway(h, x_t + self.w_h(h), torch.tanh))]
            for i, norm in enumerate(self.norms[1:]):
                state = node(i, states)
                states.append(torch.zeros_like(states[0]) if state is None else norm(state))
            h = torch.stack([states[i] for i in self.concat]).mean(0)
            outputs.append(h)
        return torch.stack(outputs, 1)


def _highway(s: Tensor, gated: Tensor, activation: Activation) -> Tensor:
    c, z = gated.chunk(2, -1)
    return s + torch.sigmoid(c) * (activation(z) - s)


@dataclass(frozen=True)
class _Taker:
    """An activation that runs behind R' of a node's R predecessors."""

    column: int  # of the table
    activation: Activation
    rows: Tensor  # [R'] of the table
    places: Tensor  # [R'] among the predecessors
    everywhere: bool  # R' = R


@dataclass(frozen=True)
class _Entrance:
    """What enters a node under a mask: its R predecessors, and the activations that run."""

    sources: tuple[int, ...]
    takers: tuple[_Taker, ...]


@dataclass(frozen=True)
class _Mix:
    """The weights of an entrance: in total [R, 1, 1], and [R', 1, 1] of each activation."""

    entrance: _Entrance
    total: Tensor
    weights: list[Tensor]


class MixedRecurrentCell(_RecurrentCell):
    """The relaxed cell: each node a weighted sum over its predecessors and their activations."""

    def __init__(self, space: CellSpace, hidden: int, norm: str) -> None:
        super().__init__(space.nodes, space.concat, hidden, norm)
        self.incoming = [[(e.row, e.source) for e in space.incoming(1 + i)] for i in range(space.nodes)]
        self.activations = [(k, ACTIVATIONS[op]) for k, op in enumerate(space.operations) if op != "none"]
        self._entrances: dict[tuple[HostMask, torch.device], list[_Entrance]] = {}

    def forward(self, x: Tensor, p_EO: Tensor, mask_EO: Mask) -> Tensor:
        """[B, T, H] to [B, T, H]; what a mask on the host leaves out is not computed."""
        p_EO, host_EO = split_gate(p_EO, mask_EO)
        mixes = [self._mix(entrance, p_EO) for entrance in self._under(host_EO, p_EO.device)]
        return self.unroll(x, lambda i, states: self._node(i, states, mixes[i]))

    def _under(self, mask_EO: HostMask, device: torch.device) -> list[_Entrance]:
        """What enters each node; the indices stay on the device, where a captured step may not copy them to."""
        key = tuple(map(tuple, mask_EO)), device
        if key not in self._entrances:
            if len(self._entrances) >= MOST_MASKS:
                self._entrances.clear()
            with torch.inference_mode(False):
                self._entrances[key] = [self._entrance(edges, mask_EO, device) for edges in self.incoming]
        return self._entrances[key]

    def _entrance(self, edges: Sequence[tuple[int, int]], mask_EO: HostMask, device: torch.device) -> _Entrance:
        running = [(row, j) for row, j in edges if any(mask_EO[row][k] for k, _ in self.activations)]
        takers = []
        for k, activation in self.activations:
            at = [r for r, (row, _) in enumerate(running) if mask_EO[row][k]]
            if at:
                rows, places = (torch.tensor(i, device=device) for i in ([running[r][0] for r in at], at))
                takers.append(_Taker(k, activation, rows, places, len(at) == len(running)))
        return _Entrance(tuple(j for _, j in running), tuple(takers))

    def _mix(self, entrance: _Entrance, p_EO: Tensor) -> _Mix:
        total = p_EO.new_zeros(len(entrance.sources), 1, 1)
        weights = [p_EO[taker.rows, taker.column][:, None, None] for taker in entrance.takers]
        for taker, weight in zip(entrance.takers, weights, strict=True):
            total = total.index_add(0, taker.places, weight)
        return _Mix(entrance, total, weights)

    def _node(self, i: int, states: Sequence[Tensor], mix: _Mix) -> Tensor | None:
        """sum over j and o of p * highway, the weights of one j gathered: total * s + c * (sum p * f(z) - total * s)"""
        if not mix.entrance.sources:
            return None
        s = torch.stack([states[j] for j in mix.entrance.sources])  # [R, B, H]
        c, z = self.w[i](s).chunk(2, -1)
        base = mix.total * s
        change = -base
        for taker, weights in zip(mix.entrance.takers, mix.weights, strict=True):
            if taker.everywhere:
                change = change + weights * taker.activation(z)
            else:
                part = weights * taker.activation(z[taker.places])
                change = change.index_add(0, taker.places, part.to(change.dtype))
        return (base + torch.sigmoid(c) * change).sum(0)


class DiscreteRecurrentCell(_RecurrentCell):
    """The cell of one genotype."""

    def __init__(self, graph: CellGraph, hidden: int, norm: str) -> None:
        super().__init__(len(graph.nodes), graph.concat, hidden, norm)
        self.terms = [[(t.source, ACTIVATIONS[t.op]) for t in terms if t.op != "none"] for terms in graph.nodes]

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, H] to [B, T, H]"""
        return self.unroll(x, self._node)

    def _node(self, i: int, states: Sequence[Tensor]) -> Tensor | None:
        terms = [_highway(states[j], self.w[i](states[j]), activation) for j, activation in self.terms[i]]
        return sum(terms[1:], terms[0]) if terms else None
