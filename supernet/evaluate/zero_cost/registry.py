"""The zero-cost scores by name, each one record; a file of a score is imported when it is first asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Concatenate, TypeAlias, TypeVar

import torch

from ...registry import Registry
from ..probe import Trial

__all__ = ["ZERO_COST", "Measure", "ZeroCost", "zero_cost"]

Measure: TypeAlias = Callable[Concatenate[Trial, ...], float]  # further arguments are the score's own, by keyword
M = TypeVar("M", bound=Measure)


@dataclass(frozen=True, kw_only=True)
class ZeroCost:
    """One score: how it is measured, and what it needs."""

    measure: Measure
    higher_is_better: bool = True
    dtype: torch.dtype | None = None  # that network and batches are converted to; None: the network's own
    batches: int = 1  # at least


ZERO_COST: Registry[ZeroCost] = Registry("zero-cost score")
for _name in (
    "fisher", "flops", "grad_norm", "grasp", "jacov", "l2", "linear_regions", "ntk", "nwot", "params", "plain", "snip",
    "swap", "synflow", "zen", "zico",
):  # fmt: skip
    ZERO_COST.lazy(_name, f"supernet.evaluate.zero_cost.{_name}")


def zero_cost(
    name: str, *, higher_is_better: bool = True, dtype: torch.dtype | None = None, batches: int = 1
) -> Callable[[M], M]:
    """Decorator that enters a function of a `Trial` under `name`; a second one of that name raises SupernetError."""

    def enter(measure: M) -> M:
        record = ZeroCost(measure=measure, higher_is_better=higher_is_better, dtype=dtype, batches=batches)
        ZERO_COST.register(name)(record)
        return measure

    return enter
