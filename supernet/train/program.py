"""What every program of training shares: its batches, the guard that may stop it, and the names of its numbers."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..data.loader import Batch, CountedLoader
from ..errors import NumbersError, SupernetError
from ..runtime.guard import Guard
from ..runtime.out_of_memory import peak
from ..runtime.ranks import Ranks
from ..space.genotype import JSON
from ..tasks.task import Task, progress_names
from .measure import phase_metrics
from .non_finite import refused, stop

__all__ = ["TrainingProgram"]

log = logging.getLogger(__name__)

Sums = Mapping[str, Mapping[str, Tensor]]


class TrainingProgram(ABC):
    """A `Program` of the loop that trains `net` on counted batches, watched by a guard.

    A subclass makes `net`, `guard` and `train` before its first step.
    """

    stage: ClassVar[str]
    net: nn.Module
    guard: Guard
    train: CountedLoader

    def __init__(self, seed: int, task: Task, device: torch.device, ranks: Ranks | None) -> None:
        self.seed, self.task, self.device, self.ranks = seed, task, device, ranks or Ranks()

    def refuse_idle(self, weights: Sequence[Tensor], samples: int, batch_size: int) -> None:
        """Raises SupernetError where none of the weights, of any shapes, learns; says where an epoch is one step."""
        if not any(weight.requires_grad for weight in weights):
            raise SupernetError("every weight of the network is frozen (requires_grad is False): nothing would learn")
        if batch_size > samples and self.ranks.main:
            log.warning("batch_size=%d, and %d samples for the weights: an epoch is one step", batch_size, samples)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return len(self.train)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do before the last epoch; never, unless a program decides so."""
        return False

    @property
    def progress_names(self) -> Mapping[str, str]:
        """The metrics that the progress line tells, with their short names."""
        return progress_names(self.task)

    def samples(self, batch: Batch) -> int:
        """How many samples a step learns from, on all ranks."""
        return len(batch.index) * self.ranks.world

    def batches(self, epoch: int, start: int) -> Iterator[Batch]:
        """The batches of `epoch` from number `start` on; images [B, C, H, W] or what the data have, and targets [B]."""
        return self.train.epoch(epoch, start)

    def metrics(self, sums: Sums) -> dict[str, float]:
        """The task's metrics of some sums, scalars, as phase/NAME."""
        return phase_metrics(self.task, sums)

    def check(self, step: int) -> None:
        """Raises NumbersError where the state after `step` must not be saved."""
        if self.guard.tripped():
            raise self.stopped()
        try:
            self.guard.check(self.state_dict())
        except NumbersError as error:
            raise refused(error, self.seed, step, self.indices("weights", step)) from None

    def stopped(self) -> NumbersError:
        """The error that ends the run: the last skipped batch is run again, and its modules are watched."""
        report = self.guard.report()
        part, step = report["part"], report["step"]
        gradients = self.gradients_again(part, step)
        return stop(self.guard, self.net, self.seed, self.indices(part, step), gradients)

    def named_gradients(self) -> dict[str, Tensor]:
        """The gradients that are there, in the shapes of the parameters, by the parameters' names."""
        return {name: p.grad for name, p in self.net.named_parameters() if p.grad is not None}

    def indices(self, part: str, step: int) -> list[int]:
        """The samples of the batch that `part` ("weights", "alphas") learned from in `step`."""
        epoch, number = divmod(step, self.steps)
        return self.train.indices(epoch)[number].tolist()

    def peak(self) -> int:
        """Most bytes in use so far: of the device's tensors, on the processor of this process."""
        return peak(self.device)

    def record(self, epoch: int) -> Mapping[str, JSON]:
        """What an ended epoch leaves beside its metrics: nothing by default."""
        return {}

    @abstractmethod
    def gradients_again(self, part: str, step: int) -> Callable[[], tuple[Tensor, Mapping[str, Tensor]]]:
        """A function that runs the batch of `step` again: its loss, a scalar, and the gradients by name."""

    @abstractmethod
    def state_dict(self) -> dict[str, object]: ...
