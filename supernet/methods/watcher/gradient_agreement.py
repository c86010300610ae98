"""Operations whose training and validation gradients disagree stop learning (OLES; https://openreview.net/forum?id=yAOwkf4FyL).

c(o) = mean over batches of cos(grad_o L_train, grad_o L_val),     frozen for good where c(o) < threshold

o is one operation on one edge of one cell. Gradients that point apart are a sign that it fits the training part alone,
which favours operations with many weights late in a search. The cosine is taken over each output channel and averaged,
as the authors' code does. It differs from that code in two ways: gradients are taken at the end of an epoch on
`batches` pairs of batches, with the same weights (theirs come from about 20 steps, each pair one step apart); and each
is of its own batch alone (theirs are not cleared in between, so that "validation" holds both).
"""
# C output channels, N numbers a channel

from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from ...errors import SupernetError
from ...network.freezing import frozen, frozen_statistics
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import Freeze, Verdict

__all__ = ["GradientAgreement", "agreement"]

Place = tuple[int, int, int]  # site, row, column


@WATCHERS.register("gradient_agreement")
class GradientAgreement(Watcher):
    """`threshold` in [-1, 1]; `batches` pairs of batches an epoch, from epoch `first` on, counted from 0."""

    traits = frozenset({"needs gradients of each operation"})

    def __init__(self, threshold: float = 0.4, batches: int = 20, first: int = 0) -> None:
        super().__init__()
        if not -1 <= threshold <= 1:
            raise SupernetError(f"gradient_agreement: threshold={threshold} must lie in [-1, 1]")
        if batches < 1:
            raise SupernetError(f"gradient_agreement: batches={batches} must be 1 or more")
        self.threshold, self.batches, self.first = threshold, batches, first
        self._below: tuple[Place, ...] = ()

    def end_epoch(self, look: Look) -> Mapping[str, float]:
        """The mean cosine over all operations that still learn, and how many have stopped."""
        self._below = ()
        if look.clock.epoch < self.first:
            return {}
        cosines = self.cosines(look)
        self._below = tuple(place for place, value in cosines.items() if value < self.threshold)
        mean = sum(cosines.values()) / len(cosines) if cosines else 1.0
        return {"gradient_agreement": mean, "operations_that_stop": float(len(self._below))}

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The operations that stop learning after this epoch."""
        return (Freeze(operations=self._below),) if self._below else ()

    def cosines(self, look: Look) -> dict[Place, float]:
        """The mean agreement of each operation with weights that learn, by (site, row, column)."""
        weights = operations(look)
        flat = [w for members in weights.values() for w in members]
        sums = dict.fromkeys(weights, 0.0)
        pairs = list(islice(zip(look.loaders("train"), look.loaders("val"), strict=False), self.batches))
        for train, val in pairs if flat else ():
            problem = look.problem(train, val)
            with frozen_statistics(look.net), frozen(problem.alphas):
                first = problem.gradient(problem.loss("train"), flat)
                second = problem.gradient(problem.loss("val"), flat)
            values = iter([agreement(a, b) for a, b in zip(first, second, strict=True)])
            for place, members in weights.items():
                sums[place] += sum(float(next(values)) for _ in members) / len(members)
        return {place: total / max(len(pairs), 1) for place, total in sums.items()}


def operations(look: Look) -> dict[Place, list[nn.Parameter]]:
    """The weights that learn, of any shapes, of each operation on each edge of each cell, or of each option."""
    tables = {table.name: table for table in look.net.space.tables}
    masks = look.net.masks()
    weights: dict[Place, list[nn.Parameter]] = {}
    for site, name in enumerate(look.net.sites):
        for row, runs in enumerate(masks[name]) if name in tables else ():
            for column, on in enumerate(runs):
                learn = [w for w in look.net.parameters_of(site, row, column) if w.requires_grad] if on else []
                if learn:
                    weights[site, row, column] = learn
    return weights


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """The mean over output channels of the cosine between two gradients [C, ...], a scalar; 0 where one is zero."""
    one_CN, other_CN = one.reshape(len(one), -1), other.reshape(len(other), -1)
    return torch.cosine_similarity(one_CN, other_CN, dim=1).mean()
