"""Several processes that train one network: what they share, and who decides.

Started by torchrun, which sets RANK, WORLD_SIZE, LOCAL_RANK and the address to meet at:

    torchrun --nproc-per-node 2 --max-restarts 3 -m supernet search ...

Every rank runs the same program on its rows r, r + world, ... of each batch, and each gradient is averaged by one
all-reduce of one flat tensor; there is no DistributedDataParallel, whose hooks miss `autograd.grad` and wait for
parameters that a step did not use. So batches, their order and the step size are those of a single process. What
differs: batch norm sees a rank's rows only (its running statistics are those of the main rank, which every rank
gets before an evaluation), and dropout, drop path and mixup draw from (seed, rank, step), so a rank needs no saved
random state; a method's own sampling, of paths for one, belongs into a generator of its own state, which is equal on
all ranks. Rank 0, the main one, names the run folder and writes everything. When a rank dies, the others end too
and torchrun starts all of them again, which is the same command: it goes on from the last good checkpoint. All
machines need the folder of the runs on a shared disk.
"""

import atexit
import json
import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from ..counter import derive
from ..errors import StoppedError, SupernetError
from ..tasks.task import PhaseSums

__all__ = ["Ranks"]

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """The place of this process among `world` equal ones; with world=1 every method does nothing.

    All ranks must call the same methods in the same order. StoppedError where another rank is gone.
    """

    rank: int = 0
    world: int = 1
    local: int = 0  # on this machine: the number of its GPU

    @classmethod
    def join(cls, minutes: float = 30) -> "Ranks":
        """The place that torchrun's environment gives; waits for the others. Without torchrun a single rank.

        A rank that waits longer than `minutes` for the others gives up.
        """
        if not ("RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1):
            return cls()
        if not dist.is_initialized():
            cuda = torch.cuda.is_available() and dist.is_nccl_available()
            backend, wait = "cpu:gloo,cuda:nccl" if cuda else "gloo", timedelta(minutes=minutes)
            with _lost_rank_in_one_line():
                store, rank, world = next(rendezvous("env://", timeout=wait))
                # torchrun may keep one store over restarts, in which the addresses of the dead ranks still stand.
                store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
                dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=wait)
                # Rank 0 holds the store: were it gone with a mistake at once, the others would see a broken connection
                # in place of the mistake.
                dist.all_reduce(torch.zeros(1))
            atexit.register(_leave_the_group)
            if dist.get_rank():
                logging.getLogger("supernet").setLevel(logging.WARNING)  # one rank tells how it goes
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))

    @property
    def main(self) -> bool:
        """Whether this rank names, decides and writes."""
        return self.rank == 0

    @property
    def restarted(self) -> bool:
        """Whether torchrun has started this process in place of one that died."""
        return self.world > 1 and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0

    @property
    def share(self) -> tuple[int, int]:
        """(rank, world): which rows of a batch the loaders read."""
        return self.rank, self.world

    def device(self, device: torch.device) -> torch.device:
        """The GPU of this rank where `device` is a GPU without a number."""
        if self.world == 1 or str(device) != "cuda":
            return device
        torch.cuda.set_device(self.local)
        return torch.device("cuda", self.local)

    def seed_step(self, seed: int, step: int) -> None:
        """Seeds the global generators for one step, so that ranks drop out differently and a resumed one the same."""
        if self.world == 1:
            return
        own = derive(seed, "rank", self.rank, step)
        random.seed(own)
        np.random.seed(own % 2**32)
        torch.manual_seed(own)

    @torch.no_grad()
    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Averages tensors of any shapes on one device over the ranks, in place; one all-reduce in the widest type."""
        if self.world == 1 or not tensors:
            return
        wide = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
        flat = torch.cat([t.reshape(-1).to(wide) for t in tensors])
        self._sum(flat)
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def mean_gradients(self, parameters: Iterable[Tensor], loss: Tensor) -> Tensor:
        """Averages the gradients that a backward pass left; the same parameters must have one on every rank.

        Returns the mean of `loss`, a scalar, so that all ranks judge a step alike.
        """
        if self.world == 1:
            return loss
        loss = loss.detach().clone()
        self.mean([*(p.grad for p in parameters if p.grad is not None), loss])
        return loss

    def total(self, sums: PhaseSums) -> PhaseSums:
        """A task's sums added over the ranks; counts stay exact up to 2^53."""
        return sums if self.world == 1 else _shaped(torch.stack(self.gather(sums)).sum(0), sums)

    def gather(self, sums: PhaseSums) -> list[Tensor]:
        """The sums of every rank, each as one float64 vector [N] on the CPU; `own` is the way back."""
        own = _flat(sums)
        if self.world == 1 or not len(own):
            return [own] * self.world
        vectors = [torch.empty_like(own) for _ in range(self.world)]
        with _lost_rank_in_one_line():
            dist.all_gather(vectors, own)
        return vectors

    def own(self, sums: PhaseSums, parts: Sequence[Tensor] | None) -> dict[str, Mapping[str, Tensor]]:
        """The sums of this rank, from those of the main one and what `gather` gave when they were saved.

        The sums are scalars or vectors, `parts` vectors [N]. Where there were other ranks then (or one: `parts` None),
        the main rank takes on all that was counted.
        """
        if parts is not None and len(parts) == self.world:
            return _shaped(parts[self.rank], sums)
        if self.world == 1 and parts is None:
            return dict(sums)
        whole = _flat(sums) if parts is None else torch.stack(list(parts)).sum(0)
        return _shaped(whole if self.main else torch.zeros_like(whole), sums)

    def broadcast(self, value: T) -> T:
        """The main rank's value on every rank; anything that JSON holds."""
        if self.world == 1:
            return value
        data = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)
        length = torch.tensor([len(data)])
        with _lost_rank_in_one_line():
            dist.broadcast(length, 0)
            data = data if self.main else torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return json.loads(bytes(data.tolist()))

    @torch.no_grad()
    def same_buffers(self, net: nn.Module | None) -> None:
        """Gives every rank the main one's buffers: the running statistics of batch norm."""
        if net is not None:
            self._same([b for b in net.buffers() if b.numel()])

    @torch.no_grad()
    def same_state(self, net: nn.Module) -> None:
        """Gives every rank the main one's parameters and buffers."""
        self._same([p.detach() for p in net.parameters()])
        self.same_buffers(net)

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds on some rank; the way to stop all of them at the same step."""
        if self.world == 1:
            return flag
        votes = torch.tensor([float(flag)])
        self._sum(votes)
        return bool(votes > 0)

    def barrier(self) -> None:
        """Until every rank is here."""
        self.any(False)

    def assert_equal(self, what: str, value: str) -> None:
        """Raises StoppedError on every rank where `value` differs on one: they no longer train one network."""
        main = self.broadcast(value)
        if self.any(value != main):
            raise StoppedError(f"the ranks have drifted apart: {what} is {value} on rank {self.rank}, {main} on 0; "
                               "the same command goes on from the last checkpoint")  # fmt: skip

    def first(self, work: Callable[[], T]) -> T:
        """`work` on the main rank and then on the others; a mistake that the main rank meets is raised on all."""
        if self.world == 1:
            return work()
        result: list[T] = []
        problem: str | None = None
        if self.main:
            try:
                result.append(work())
            except SupernetError as error:
                problem = str(error)
        problem = self.broadcast(problem)
        if problem is not None:
            raise SupernetError(problem)
        return result[0] if result else work()

    def _same(self, tensors: Sequence[Tensor]) -> None:
        """Broadcast from the main rank, one flat tensor for each type."""
        if self.world == 1:
            return
        for dtype in sorted({t.dtype for t in tensors}, key=str):
            some = [t for t in tensors if t.dtype == dtype]
            flat = torch.cat([t.reshape(-1) for t in some])
            flat = flat.to(torch.uint8) if dtype == torch.bool else flat  # which gloo does not send
            with _lost_rank_in_one_line():
                dist.broadcast(flat, 0)
            for tensor, part in zip(some, flat.split([t.numel() for t in some]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def _sum(self, flat: Tensor) -> None:
        with _lost_rank_in_one_line():
            dist.all_reduce(flat)


def _flat(sums: PhaseSums) -> Tensor:
    values = [v.detach().double().cpu().reshape(-1) for named in sums.values() for v in named.values()]
    return torch.cat(values) if values else torch.zeros(0, dtype=torch.float64)


def _shaped(flat: Tensor, like: PhaseSums) -> dict[str, Mapping[str, Tensor]]:
    values = iter(flat.split([v.numel() for named in like.values() for v in named.values()]))
    return {phase: {name: next(values).view(v.shape).to(v.device, v.dtype) for name, v in named.items()}
            for phase, named in like.items()}  # fmt: skip


@contextmanager
def _lost_rank_in_one_line() -> Iterator[None]:
    """The backends' errors about a rank that died, which may be any RuntimeError, as one line."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).partition("\n")[0][:160]
        raise StoppedError(f"another rank is gone ({reason}); torchrun --max-restarts N starts all of them again, and "
                           "they go on from the last checkpoint")  from None  # fmt: skip


def _leave_the_group() -> None:
    with suppress(Exception):  # at the interpreter's end there is nobody left to tell
        dist.destroy_process_group()
