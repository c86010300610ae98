"""Alphas by what each operation contributes to accuracy (Shapley-NAS; Xiao et al., arXiv:2206.09811, section 3.3).

v(o) = mean over permutations of [acc(before o goes) - acc(after)]      operations go one by one, in a drawn order
s = v - its standard deviation,   z = (s - mean s) / std s  a table,   mu <- momentum mu + (1 - momentum) z,
alpha <- alpha + step mu

No gradient moves the alphas. A permutation is cut off once the accuracy falls below `cut` of that of all operations:
what goes later contributes 0. Each permutation has a validation batch of its own. What goes has p = 0 and does not run;
the others keep their p. In the authors' code norms switch between both modes by accident; here they take the batch's
own statistics, since running ones are those of all operations together.
"""
# E edges, O operations, P permutations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...config import SearchConfig
from ...counter import permutation
from ...errors import SupernetError
from ...network import Supernet
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import Verdict

__all__ = ["Shapley", "contributions"]

Player = tuple[str, int, int]  # table, row, column


@WATCHERS.register("shapley")
class Shapley(Watcher):
    """`permutations` an epoch, from epoch `first` on; `step`, `momentum` and `cut` as above, the last two in [0, 1]."""

    traits = frozenset({"moves alphas", "measures removals"})

    def __init__(
        self, permutations: int = 10, first: int = 25, step: float = 0.1, momentum: float = 0.8, cut: float = 0.5
    ) -> None:
        super().__init__()
        if permutations < 1:
            raise SupernetError(f"shapley: permutations={permutations} must be 1 or more")
        for name, value in (("momentum", momentum), ("cut", cut)):
            if not 0 <= value <= 1:
                raise SupernetError(f"shapley: {name}={value} must lie in [0, 1]")
        self.permutations, self.first, self.step, self.momentum, self.cut = permutations, first, step, momentum, cut
        self.seed = 0
        self.mean = nn.Module()  # a buffer [E, O] a table

    def fits(self, config: SearchConfig) -> Sequence[str]:
        """Raises SupernetError where the search ends before the alphas first move."""
        if self.first >= config.epochs:
            raise SupernetError(
                f"method.watchers=shapley moves the alphas from epoch first={self.first} on, and "
                f"epochs={config.epochs}: they would never move; take a smaller `first`"
            )
        return ()

    def bind(self, net: Supernet, seed: int) -> None:
        """A running mean of the contributions, [E, O] a table."""
        self.seed = seed
        for table in net.space.tables:
            self.mean.register_buffer(table.name, torch.zeros(table.shape).to(net.alphas()[0]))

    @torch.no_grad()
    def verdict(self, look: Look) -> Sequence[Verdict]:
        """None: the alphas have moved."""
        if look.clock.epoch < self.first:
            return ()
        for table, values in self.scores(look).items():
            mean = self.mean.get_buffer(table)
            mean.mul_(self.momentum).add_(torch.from_numpy(values).to(mean), alpha=1 - self.momentum)
            look.net.alpha[table].add_(mean, alpha=self.step)
        return ()

    def scores(self, look: Look) -> dict[str, NDArray[np.float64]]:
        """The standardised contributions z [E, O] a table; what does not run has none and stays at 0."""
        masks = {name: np.array(look.net.masks()[name]) for name in look.net.alpha}
        players = [(name, int(e), int(o)) for name in sorted(masks) for e, o in np.argwhere(masks[name])]
        draws = []
        for number, batch in enumerate(islice(cycle(look.loaders("val")), self.permutations)):
            draw = self.permutations * look.clock.epoch + number
            order = permutation(self.seed, "shapley", draw, len(players)).tolist()
            draws.append(contributions(order, partial(self._accuracy, look, players, batch), self.cut))
        values = np.array(draws)  # [P, players]
        strengths = values.mean(0) - values.std(0)
        scores = {name: np.zeros(mask.shape) for name, mask in masks.items()}
        for (name, row, column), value in zip(players, strengths, strict=True):
            scores[name][row, column] = value
        return {name: _standardised(scores[name], masks[name]) for name in scores}

    def _accuracy(self, look: Look, players: Sequence[Player], batch: Sequence[Tensor], left: frozenset[int]) -> float:
        """The metric that selects, of one batch, where only the players `left` run; more is better."""
        gates = {name: [[False] * len(row) for row in look.net.masks()[name]] for name in look.net.alpha}
        for number in left:
            name, row, column = players[number]
            gates[name][row][column] = True
        p = dict(look.net.mixing())
        for name, gate in gates.items():
            p[name] = p[name] * torch.tensor(gate, device=p[name].device)
        fixed = {name: tuple(tuple(row) for row in gate) for name, gate in gates.items()}
        metrics = look.measure(look.net.mixture(p, fixed), [batch], batch_statistics=True)
        value = metrics[look.selects.removeprefix("val/")]
        return value if look.maximise else -value


def contributions(order: Sequence[int], accuracy: Callable[[frozenset[int]], float], cut: float) -> list[float]:
    """What each of the players 0 .. n-1 takes along when they go in `order`, cut off below `cut` of that of all."""
    values = [0.0] * len(order)
    left = frozenset(order)
    full = now = accuracy(left)
    for player in order:
        if cut and now < cut * full:
            break
        left -= {player}
        after = accuracy(left)
        values[player], now = now - after, after
    return values


def _standardised(scores: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(score - mean) / standard deviation over what may run of [E, O]; zeros where all are alike."""
    spread = float(scores[mask].std())
    if not spread:
        return np.zeros_like(scores)
    return np.where(mask, (scores - scores[mask].mean()) / spread, 0.0)
