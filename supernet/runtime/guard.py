"""Numbers that stay finite: a step with a non-finite loss or gradient is skipped, and k of them in a row stop the run.

A skip leaves weights, alphas, both optimisers' states and the running statistics as they were: zeroed gradients would
not do, because momentum and weight decay still move the weights. Two ways, the same in their results:

    on the processor   the host reads the flag, which costs nothing there, and does not call the optimiser
    on a GPU           nothing waits: a fused optimiser takes the flag as its `found_inf` and leaves all as it is; with
                       any other the optimiser steps, and where the flag is set, copies made before are put back. That
                       costs the room of the copies, and a count that it keeps on the host (Adam's `step`) goes on.

An average of the weights goes on with the old ones. After k skips in a row the flag stays set, so that a GPU that runs
ahead of the host's next look changes nothing more. All that a step changes keeps its place in memory, so that a
captured graph of steps stays valid.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from ..config import GuardConfig
from ..errors import NumbersError
from ..tasks.task import Sums

__all__ = ["Guard", "Skip", "check_finite", "measured", "non_finite"]

log = logging.getLogger(__name__)

CAUSES = {1: "loss of the weights", 2: "gradient of the weights", 4: "loss of the alphas", 8: "gradient of the alphas"}


class Skip(TypedDict):
    """The last step that was skipped, in plain values: see `Guard.report`."""

    step: int
    part: str
    found: str
    skips: int
    skips_in_all: int


class Guard:
    """Watches the steps of one network; `waits` says whether the host reads the flag of each step (None: not on a GPU).

    A step is `at`, `begin`, one or two of `update`, `count`, `look`; all but the first and the last may be captured as
    a graph. `end` is `at`, `count` and `look` in one. Switched off (`skips` 0), `update` only calls the optimiser.
    """

    def __init__(self, config: GuardConfig, net: nn.Module, device: torch.device, *, waits: bool | None = None) -> None:
        self.config, self.on = config, config.skips > 0
        self.waits = device.type == "cpu" if waits is None else waits
        # Skips in a row, skips in all, the last one's step, and its causes as bits.
        self.counts = torch.zeros(4, dtype=torch.int64, device=device)
        self._cause = torch.zeros((), dtype=torch.int64, device=device)
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        dense = [b for b in net.buffers() if self.on and b.stride() == torch.empty_like(b).stride()]
        self._statistics = _Copies(dense)
        self._copies: dict[str, _Copies] = {}
        self._told = 0
        # Buffers that hold infinity by design, such as masks, are no sign of trouble.
        self._infinite = [f".{name}" for name in non_finite(dict(net.named_buffers()))]

    def at(self, step: int) -> None:
        """Tells the device the number of the step, which `count` notes where it is skipped."""
        if self.on:
            self._step.fill_(step)

    def begin(self) -> None:
        """Before the forward passes of a step, which move the running statistics."""
        if self.on:
            self._cause.zero_()
            self._statistics.take()

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """The norm of all gradients together, a scalar on their device; non-finite where one of them is."""
        return _norm(gradients) if self.on else torch.zeros(())

    def clip(self, parameters: Iterable[Tensor], most: float) -> Tensor:
        """The norm of the parameters' gradients, a scalar; they are scaled to at most `most` (0: left alone)."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not most:
            return self.norm(gradients)
        norm = _norm(gradients)
        factor = (most / (norm + 1e-6)).clamp(max=1.0)  # as torch.nn.utils.clip_grad_norm_ has it
        for some in _by_kind(gradients):
            torch._foreach_mul_(some, factor.to(some[0].device))
        return norm

    def update(self, part: str, optimizer: torch.optim.Optimizer, loss: Tensor, norm: Tensor, sums: Sums) -> Sums:
        """`optimizer.step()` if the loss and the gradients' norm are finite; the sums of the batch, zeros if not.

        `loss`, `norm` and the sums are scalars. `part` is "weights" or "alphas"; the running
        statistics go with the weights.
        """
        if not self.on:
            optimizer.step()
            return sums
        first = 1 if part == "weights" else 4
        cause = first * ~loss.detach().isfinite().all() + 2 * first * ~norm.detach().isfinite()
        self._cause.add_(cause)
        bad = (cause > 0) | (self.counts[0] >= self.config.skips)
        if not self.waits and optimizer.defaults.get("fused"):
            self._fused(part, optimizer, bad)
        elif not self.waits:
            self._masked(part, optimizer, bad)
        elif not bad:
            optimizer.step()
            return sums
        elif part == "weights":
            self._statistics.put_back()
        return {name: torch.where(bad, torch.zeros_like(value), value) for name, value in sums.items()}

    def end(self, step: int) -> bool:
        """Counts the step; True where the host looks and finds that the run must stop."""
        self.at(step)
        self.count()
        return self.look(step)

    def count(self) -> None:
        """Counts the step, if it was skipped; nothing waits."""
        if not self.on:
            return
        bad = self._cause > 0
        skips, total = torch.where(bad, self.counts[0] + 1, 0), self.counts[1] + bad
        last = torch.where(bad, self._step, self.counts[2])
        now = torch.stack([skips, total, last, torch.where(bad, self._cause, self.counts[3])])
        self.counts.copy_(torch.where(self.counts[0] >= self.config.skips, self.counts, now))

    def look(self, step: int) -> bool:
        """Whether the host looks after `step`, for which it may wait, and finds that the run must stop.

        Where it does not look at each step, it does when the log is written, which waits as well.
        """
        return self.on and (self.waits or (step + 1) % self.config.every == 0) and self.tripped()

    def tripped(self) -> bool:
        """Whether the run must stop; the host waits for the device."""
        if not self.on:
            return False
        skips, total, step, cause = self.counts.tolist()
        if total > self._told:
            log.warning("skipped step %d: non-finite %s (%d skipped in all)", step, _causes(cause), total)
        self._told = total
        return skips >= self.config.skips

    def report(self) -> Skip:
        """The last skip in plain values: step, the part that went wrong first, causes, skips in a row and in all."""
        skips, total, step, cause = self.counts.tolist()
        part = "alphas" if cause & (4 | 8) else "weights"
        return {"step": step, "part": part, "found": _causes(cause), "skips": skips, "skips_in_all": total}

    def check(self, state: Mapping[str, object]) -> None:
        """Raises NumbersError where a state that is to be saved holds a non-finite value that does not belong there."""
        if self.on:
            check_finite(state, self._infinite)

    def _fused(self, part: str, optimizer: Any, bad: Tensor) -> None:
        optimizer.found_inf = bad.to(torch.float32)
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf
        if part == "weights":
            self._statistics.put_back(bad)

    def _masked(self, part: str, optimizer: torch.optim.Optimizer, bad: Tensor) -> None:
        before = _state_of(optimizer, bad.device)
        copies = self._copies.get(part)
        if copies is None or not copies.fit(list(before.values())):
            copies = self._copies[part] = _Copies(list(before.values()))
        copies.tensors = list(before.values())
        copies.take()
        optimizer.step()
        after = _state_of(optimizer, bad.device)
        copies.tensors = [after[name] for name in before]
        copies.put_back(bad)
        for name in after.keys() - before.keys():  # made by the first step: momenta begin with zeros
            after[name].copy_(torch.where(bad, torch.zeros_like(after[name]), after[name]))
        if part == "weights":
            self._statistics.put_back(bad)

    def state_dict(self) -> dict[str, Tensor]:
        """`counts` [4]: what a run that goes on needs."""
        return {"counts": self.counts}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes `counts` [4] back."""
        self.counts.copy_(state["counts"])
        self._told = int(self.counts[1])


class _Copies:
    """Copies of tensors in one flat piece a type, so that taking and putting back are few calls on a device."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tensors
        self._shapes = [(t.shape, t.stride(), t.dtype) for t in tensors]
        self._pieces: list[tuple[list[int], Tensor, list[Tensor], list[Tensor]]] = []
        for kind in dict.fromkeys((t.dtype, t.device) for t in tensors):
            numbers = [i for i, t in enumerate(tensors) if (t.dtype, t.device) == kind]
            likes = [torch.empty_like(tensors[i]) for i in numbers]
            old = torch.empty(sum(like.numel() for like in likes), dtype=kind[0], device=kind[1])
            self._pieces.append((numbers, old, _views(old, likes), likes))

    def fit(self, tensors: Sequence[Tensor]) -> bool:
        return self._shapes == [(t.shape, t.stride(), t.dtype) for t in tensors]

    @torch.no_grad()
    def take(self) -> None:
        for numbers, _, views, _ in self._pieces:
            torch._foreach_copy_(views, [self.tensors[i] for i in numbers])

    @torch.no_grad()
    def put_back(self, where: Tensor | None = None) -> None:
        """Undoes what happened to the tensors since `take`; with a flag, where it is set, and nothing waits for it."""
        for numbers, old, views, likes in self._pieces:
            tensors = [self.tensors[i] for i in numbers]
            if where is None:
                torch._foreach_copy_(tensors, views)
                continue
            new = torch.empty_like(old)
            chosen = _views(new, likes)
            torch._foreach_copy_(chosen, tensors)
            torch.where(where, old, new, out=new)
            torch._foreach_copy_(tensors, chosen)


def _views(flat: Tensor, likes: Iterable[Tensor]) -> list[Tensor]:
    """One after another, parts of `flat` with the shapes and strides of dense tensors."""
    views, offset = [], 0
    for like in likes:
        views.append(torch.as_strided(flat, like.size(), like.stride(), offset))
        offset += like.numel()
    return views


def _state_of(optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, Tensor]:
    """Parameters and the tensors of their states that are on `device`."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    tensors = {str(i): p for i, p in enumerate(parameters)}
    for i, p in enumerate(parameters):
        for name, value in optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor) and value.device == device:
                tensors[f"{i}.{name}"] = value
    return tensors


@torch.no_grad()
def _norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all of them as one vector, on the device of the first."""
    norms = [torch.linalg.vector_norm(torch.stack(torch._foreach_norm(some))) for some in _by_kind(gradients)]
    if len(norms) > 1:
        return torch.linalg.vector_norm(torch.stack([norm.to(norms[0].device) for norm in norms]))
    return norms[0] if norms else torch.zeros(())


def _by_kind(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """The tensors of one type and device together, as torch's calls for many tensors want them."""
    kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for t in tensors:
        kinds.setdefault((t.dtype, t.device), []).append(t)
    return list(kinds.values())


def measured(sums: Sums) -> bool:
    """Whether a phase's sums hold anything: those of skipped steps are zeros, and have no mean."""
    return any(bool(value.any()) for value in sums.values())


def check_finite(state: object, apart_from: Iterable[str] = ()) -> None:
    """Raises NumbersError that names the tensors of `state` with a non-finite value; one wait for the device."""
    if names := [name for name in non_finite(state) if not name.endswith(tuple(apart_from))]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        report = {"where": "state", "module": names[0].rpartition(".")[0], "tensors": names[:20]}
        raise NumbersError(f"{names[0]}{more} is not finite, and the state is not saved", report)


def non_finite(state: object) -> list[str]:
    """Dotted names of the floating tensors in nested containers that hold a NaN or an infinity."""
    by_kind: dict[tuple[torch.dtype, torch.device], dict[str, Tensor]] = {}
    for name, value in _tensors(state, ""):
        if (value.is_floating_point() or value.is_complex()) and value.numel():
            by_kind.setdefault((value.dtype, value.device), {})[name] = value.detach()
    names: list[str] = []
    for named in by_kind.values():
        largest = torch.stack(torch._foreach_norm(list(named.values()), float("inf")))
        names += [name for name, fine in zip(named, largest.isfinite().tolist(), strict=True) if not fine]
    return names


def _tensors(value: object, where: str) -> Iterable[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield where, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _tensors(item, f"{where}[{i}]")


def _causes(bits: int) -> str:
    return ", ".join(name for bit, name in CAUSES.items() if bits & bit)
