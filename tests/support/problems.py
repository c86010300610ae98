"""Bilevel problems out of two functions, for tests of hypergradients without a network's data path."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from supernet.methods import Problem

__all__ = ["problem_of", "with_val_loss"]

Loss = Callable[[], Tensor]


def problem_of(
    weights: Sequence[Tensor], alphas: Sequence[Tensor], train_loss: Loss, val_loss: Loss, *rest: Any, **more: Any
) -> Problem:
    """The problem whose losses, scalars, are these functions of the parameters; `rest` as `Problem` takes it."""
    losses = {"train": train_loss, "val": val_loss}

    def run(name: str, _: object) -> tuple[Tensor, Tensor]:
        return losses[name](), torch.empty(0)

    return Problem(weights, alphas, run, lambda loss, _: loss, *rest, **more)


def with_val_loss(problem: Problem, val_loss: Loss) -> Problem:
    """`problem` with another validation loss, a scalar."""
    from dataclasses import replace

    run = problem.run
    return replace(problem, run=lambda name, m: (val_loss(), torch.empty(0)) if name == "val" else run(name, m))
