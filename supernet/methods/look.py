"""What parts see when an epoch has ended: the network, its numbers, the data, and the epochs before."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ..network.mixture import Mixture
from ..space import Genotype
from .part import Clock
from .phase import BOTH
from .problem import BatchName, Problem

if TYPE_CHECKING:
    from ..data.loader import Batch
    from ..network import Supernet

__all__ = ["Ended", "Look"]


@dataclass(frozen=True)
class Ended:
    """An epoch that has ended: its number in the run, the genotype that was present, and its metrics."""

    epoch: int
    genotype: Genotype
    metrics: Mapping[str, float]


class Measure(Protocol):
    """The task's metrics over the alphas' part of the data, or over `batches`, in evaluation mode.

    With `batch_statistics` norms take each batch's own mean and variance, as they do in training.
    """

    def __call__(
        self,
        mixture: Mixture | None = None,
        batches: Iterable[Sequence[Tensor]] | None = None,
        batch_statistics: bool = False,
    ) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class Look:
    """A look at a search between two epochs; reading numbers of the device is free here.

    `history` has every ended epoch of this phase, this one last. `loaders` gives the batches of either part of the
    training split, without augmentation; `measure` the metrics on the alphas' part, under another mixture where one is
    given. `problem(train, val)` is the bilevel problem on two batches, for curvature and the like. `selects` names the
    metric that decides, `maximise` its direction. `last` says whether the search ends with this epoch, as planned.
    `learns` says what has learned in the epoch, as in `Phase`: in a warm-up the weights alone.
    """

    net: "Supernet"
    clock: Clock
    metrics: Mapping[str, float]
    genotype: Genotype
    history: Sequence[Ended]
    loaders: Callable[[BatchName], Iterable["Batch"]]
    measure: Measure
    problem: Callable[["Batch", "Batch"], Problem]
    selects: str = "top1"
    maximise: bool = True
    last: bool = False
    learns: frozenset[str] = BOTH
