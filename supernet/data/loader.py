"""Batches by number: the order from (seed, stream, epoch), a sample's augmentation from (seed, stream, epoch, index).

Nothing here has a state that matters: batch k of epoch e is the same after any history, with any number of workers. So
resuming means asking for the next number, and skipped batches are not decoded.
"""

# B batch, C channels, H height, W width

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..counter import permutation
from ..errors import SupernetError
from .resident import Resident, to_device
from .sources import Counter, Indices, Source
from .view import View

__all__ = ["Batch", "CountedLoader", "CyclingLoader", "EvalLoader"]

Device = torch.device | str


class Batch(NamedTuple):
    """Images [B, C, H, W] ready for a network, targets [B, ...], and the samples' numbers in the source, int64 [B]."""

    images: Tensor
    targets: Tensor
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody misses


_Key = tuple[Indices, Counter | None]
_Loaded = tuple[Tensor, Tensor] | str


class _Fetch(Dataset[_Loaded]):
    """Runs in the workers. A user's mistake travels back as text: torch would wrap it into the worker's traceback."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, key: _Key) -> _Loaded:
        try:
            return self.source.fetch(*key)
        except SupernetError as error:
            return str(error)


class _Plan:
    """The keys of one pass. The loader keeps this object and its workers, and each pass puts its own keys in."""

    def __init__(self) -> None:
        self.keys: list[_Key] = []

    def __iter__(self) -> Iterator[_Key]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


def _as_is(loaded: object) -> object:
    return loaded


class _Reader:
    """Fetches keys in order, in this process or in worker processes that live until `close`."""

    def __init__(self, source: Source, workers: int) -> None:
        self.workers = 0 if source.in_memory else workers
        self._fetch = _Fetch(source)
        self._plan = _Plan()
        self._pool: DataLoader[_Loaded] | None = None
        self._pass: Iterator[_Loaded] | None = None
        self._number = 0

    def read(self, keys: list[_Key]) -> Iterator[tuple[Tensor, Tensor]]:
        if not self.workers:
            for key in keys:
                yield self._fetch.source.fetch(*key)
            return
        self._number += 1
        number, self._plan.keys = self._number, keys
        self._pass = iter(self._workers())
        for _ in keys:
            if number != self._number or self._pass is None:
                # The workers serve one pass at a time; going on here would hand out another pass's batches.
                raise RuntimeError("this pass has ended: the loader was closed or began another one")
            loaded = next(self._pass)
            if isinstance(loaded, str):
                raise SupernetError(loaded)
            yield loaded

    def close(self) -> None:
        self._pass = self._pool = None  # the last references: torch's iterator joins its workers when it goes

    def _workers(self) -> "DataLoader[_Loaded]":
        if self._pool is None:
            with warnings.catch_warnings():  # torch advises against more workers than cores; a slow disk wants them
                warnings.filterwarnings("ignore", message="This DataLoader will create")
                self._pool = DataLoader(
                    self._fetch,
                    batch_size=None,  # a key is a whole batch
                    sampler=self._plan,
                    num_workers=self.workers,
                    collate_fn=_as_is,
                    persistent_workers=True,
                    generator=torch.Generator(),  # or each pass would take a number from the training's own generator
                )
        return self._pool


class CountedLoader:
    """Batches of training samples, shuffled by count.

    `stream` names the purpose (weights, alphas): loaders of different streams draw independently. `augment` False reads
    as for evaluation, in the counted order. `workers` decode files in processes of their own; sources in memory do
    without. `drop_last` drops a last smaller batch, and one of a single sample is dropped always, because batch norm
    cannot train on it. A view smaller than `batch_size` is one batch. With workers, one pass runs at a time. `share`
    (rank, world) reads rows rank, rank + world, ... of each batch, whose size is a multiple of world; so the order does
    not depend on how many processes share it. With `resident`, batches are made on the device, of the same bits.

    Raises SupernetError for a view of fewer than two samples.
    """

    def __init__(
        self,
        view: View,
        *,
        batch_size: int,
        seed: int,
        stream: str,
        augment: bool = True,
        workers: int = 0,
        drop_last: bool = True,
        share: tuple[int, int] = (0, 1),
        device: Device = "cpu",
        resident: Resident | None = None,
    ) -> None:
        if len(view) < 2:
            raise SupernetError(
                f"the {stream} part has {len(view)} samples; training needs 2 or more (data.limit, folders)"
            )
        self.share, world = share, share[1]
        self.view, self.batch_size, self.device = view, min(batch_size, len(view)) // world * world, device
        if world > 1 and self.batch_size < 2 * world:
            raise SupernetError(
                f"a batch of the {stream} part has {min(batch_size, len(view))} samples for {world} ranks; each of "
                "them needs 2 or more"
            )
        self.seed, self.stream, self.augment = seed, stream, augment
        full, rest = divmod(len(view), self.batch_size)
        self._batches = full + (rest >= 2 * world and not drop_last)
        self.resident = resident
        self._reader = _Reader(view.source, workers)

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._batches

    def indices(self, epoch: int) -> list[Indices]:
        """The samples' numbers of each batch of an epoch."""
        order = self.view.index[permutation(self.seed, self.stream, epoch, len(self.view))]
        return [order[b * self.batch_size : (b + 1) * self.batch_size] for b in range(self._batches)]

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on; earlier ones are neither read nor decoded."""
        at = Counter(self.seed, self.stream, epoch)
        rank, world = self.share
        parts = [part[rank::world] for part in self.indices(epoch)[start:]]
        if self.resident is not None:
            for batch in self.resident.batches(parts, self.view.augment, at if self.augment else None):
                yield Batch(*batch)
            return
        loaded = self._reader.read([(part, at if self.augment else None) for part in parts])
        for part, (images, targets) in zip(parts, loaded, strict=True):
            yield self._batch(part, images, targets, at)

    def close(self) -> None:
        """Ends the worker processes; another epoch would start new ones."""
        self._reader.close()

    def _batch(self, part: Indices, images: Tensor, targets: Tensor, at: Counter) -> Batch:
        augment, images = self.view.augment, to_device(images, self.device)
        if not self.augment:
            images = augment.apply(images)
        elif not self.view.source.ready:
            draws = to_device(torch.from_numpy(augment.draws(*at, part)), self.device)
            images = augment.apply(images, draws)
            targets = augment.apply_to_targets(to_device(targets, self.device), draws)
        return Batch(images, to_device(targets, self.device), torch.from_numpy(part))


class CyclingLoader:
    """An endless loader over another: batch k is batch k mod len of epoch k div len, so its state is the step alone."""

    def __init__(self, loader: CountedLoader) -> None:
        self.loader = loader
        self._next = -1
        self._batches: Iterator[Batch] | None = None

    def from_step(self, step: int) -> Iterator[Batch]:
        """All batches from this global step on, without end."""
        epoch, start = divmod(step, len(self.loader))
        while True:
            yield from self.loader.epoch(epoch, start)
            epoch, start = epoch + 1, 0

    def at(self, step: int) -> Batch:
        """The batch of a global step; consecutive steps continue one pass, so workers decode ahead."""
        if self._batches is None or step != self._next:
            self._batches = self.from_step(step)
        self._next = step + 1
        return next(self._batches)

    def close(self) -> None:
        self._batches = None
        self.loader.close()


class EvalLoader:
    """All samples of a view in order, without augmentation, the last smaller batch included.

    `share` (rank, world) reads every world-th sample from number rank on; `resident` as in `CountedLoader`.
    """

    def __init__(
        self,
        view: View,
        *,
        batch_size: int,
        workers: int = 0,
        share: tuple[int, int] = (0, 1),
        device: Device = "cpu",
        resident: Resident | None = None,
    ) -> None:
        self.resident = resident
        self.view, self.batch_size, self.device = view.shared(*share), batch_size, device
        self._reader = _Reader(view.source, workers)

    def __len__(self) -> int:
        return -(-len(self.view) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        starts = range(0, len(self.view), self.batch_size)
        parts = [self.view.index[s : s + self.batch_size] for s in starts]
        if self.resident is not None:
            for batch in self.resident.batches(parts, self.view.augment, None):
                yield Batch(*batch)
            return
        keys: list[_Key] = [(part, None) for part in parts]
        for part, (images, targets) in zip(parts, self._reader.read(keys), strict=True):
            images = self.view.augment.apply(to_device(images, self.device))
            yield Batch(images, to_device(targets, self.device), torch.from_numpy(part))

    def close(self) -> None:
        """Ends the worker processes."""
        self._reader.close()
