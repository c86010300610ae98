"""An LSTM that decides a point choice by choice, and says how probable a point is.

What was taken before enters as a row of one embedding; each choice has its own logits in one layer for all. The
probabilities of known points come from one pass over their sequences, side by side; a point is drawn step by step, with
numpy, where a step of so small a network costs a tenth of what torch needs to begin one.
"""
# T steps of a sequence, N points, K options of all choices together, U units

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..sequence import Step

__all__ = ["Memory", "Policy"]

Array = NDArray[np.float64]
BOUND = 0.08  # of the first weights, drawn uniformly: Zoph and Le, section 4.1


class Memory(NamedTuple):
    """The state between two steps of a draw: hidden and cell, [U] for each layer."""

    hidden: tuple[Array, ...]
    cell: tuple[Array, ...]


class Policy(nn.Module):
    """`choices` has the number of options of each choice, by name."""

    def __init__(self, choices: Mapping[str, int], units: int, layers: int, seed: int) -> None:
        super().__init__()
        sizes = list(choices.values())
        starts = np.cumsum([0, *sizes])
        self.rows = {name: (int(starts[at]), int(starts[at + 1])) for at, name in enumerate(choices)}
        self.units, self.layers = units, layers
        self.taken = nn.Embedding(1 + sum(sizes), units)  # the last row: nothing was taken yet
        self.lstm = nn.LSTM(units, units, layers)
        self.head = nn.Linear(units, sum(sizes))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-BOUND, BOUND, generator=generator)

    def forward(self, points: Sequence[Sequence[Step]]) -> tuple[Tensor, Tensor]:
        """(log probability [N], sum of the choices' entropies [N]) of points, given as their sequences."""
        most = max(map(len, points))
        tokens_TN = torch.full((most, len(points)), self.taken.num_embeddings - 1)
        taken_TN = torch.zeros((most, len(points)), dtype=torch.int64)
        allowed_TNK = torch.zeros((most, len(points), self.head.out_features), dtype=torch.bool)
        there_TN = torch.zeros((most, len(points)), dtype=torch.bool)
        for n, steps in enumerate(points):
            for t, step in enumerate(steps):
                first, _ = self.rows[step.name]
                taken_TN[t, n], there_TN[t, n] = first + step.taken, True
                allowed_TNK[t, n, first + step.allowed.start : first + step.allowed.stop] = True
        tokens_TN[1:] = torch.where(there_TN[:-1], taken_TN[:-1], tokens_TN[1:])
        logits_TNK = self.head(self.lstm(self.taken(tokens_TN))[0])
        allowed_TNK[~there_TN] = True  # behind the end of a sequence; left out below
        logs_TNK = torch.log_softmax(logits_TNK.masked_fill(~allowed_TNK, float("-inf")), -1)
        log_p_TN = logs_TNK.gather(-1, taken_TN[..., None])[..., 0]
        entropy_TN = -(logs_TNK.exp() * logs_TNK.masked_fill(~allowed_TNK, 0.0)).sum(-1)
        return (log_p_TN * there_TN).sum(0), (entropy_TN * there_TN).sum(0)

    def begin(self) -> Memory:
        """The state before the first step of a draw."""
        zeros = tuple(np.zeros(self.units) for _ in range(self.layers))
        return Memory(zeros, zeros)

    def step(self, name: str, allowed: range, token: int, memory: Memory) -> tuple[list[float], Memory]:
        """(probability of each allowed option of the choice `name`, next state); `token` as `token()` gives it."""
        x, hidden, cell = self._array(self.taken.weight)[token], [], []
        for layer in range(self.layers):
            w_in, w_hidden, b_in, b_hidden = (self._array(w) for w in self.lstm.all_weights[layer])
            i, f, g, o = np.split(w_in @ x + b_in + w_hidden @ memory.hidden[layer] + b_hidden, 4)
            c = _sigmoid(f) * memory.cell[layer] + _sigmoid(i) * np.tanh(g)
            x = _sigmoid(o) * np.tanh(c)
            hidden.append(x)
            cell.append(c)
        first = self.rows[name][0]
        rows = slice(first + allowed.start, first + allowed.stop)
        logits = self._array(self.head.weight)[rows] @ x + self._array(self.head.bias)[rows]
        weights = np.exp(logits - logits.max())
        return (weights / weights.sum()).tolist(), Memory(tuple(hidden), tuple(cell))

    def token(self, name: str, option: int) -> int:
        """What stands for having taken this option of this choice."""
        return self.rows[name][0] + option

    def nothing(self) -> int:
        """What stands for the beginning."""
        return self.taken.num_embeddings - 1

    @staticmethod
    def _array(weight: Tensor) -> Array:
        return weight.detach().numpy()  # shares the memory, so a step of the optimiser is seen


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
