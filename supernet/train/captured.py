"""A bilevel step as one CUDA graph: launched as a whole, with nothing between its kernels that the host must do.

A step of a DARTS supernet is thousands of small kernels, whose launches take longer than they do. So the first steps
on batches of one form (shapes and types; with or without a batch for the alphas) run as they are, and the next one is
captured: gradients, clipping, both optimisers, the guard and its counts, the batch's sums. From then on a step is:
batches into the places that the graph reads, learning rate and number of the step likewise, replay.

Numbers are those of steps that are not captured: the same kernels in the same order, and the generator of the device
advances as it would. Where something in a step needs the host it is not captured, and the log says so once. What
cannot be seen is a decision that a network makes by a count or a clock of its own on the host: capture=off is for it.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from ..data.loader import Batch
from ..errors import SupernetError, unknown
from ..methods.noise import HALVES
from ..runs.state import rng_state
from ..runtime.cuda_graphs import CudaGraphs, Graph, Graphs
from ..runtime.host_reads import HostReads
from ..tasks.task import PhaseSums
from .bilevel import BilevelStep

__all__ = ["CapturedStep"]

log = logging.getLogger(__name__)

Nested: TypeAlias = Any  # tensors in lists, tuples and mappings


class CapturedStep:
    """Runs a `BilevelStep` and counts it in its guard: as a CUDA graph where that can be, as it is elsewhere.

    `capture` is "auto" (a graph where CUDA is) or "off"; `graphs` makes them (None: CUDA's). `why_not` is None, or says
    why steps are not captured; `captured` is True once a graph is there. The sums that a call returns are overwritten
    by the next one.
    """

    WARM_UP: ClassVar[int] = 3  # steps before a capture: optimisers make their states, libraries choose their kernels
    MOST_FORMS: ClassVar[int] = 8  # batches of yet another form run as they are: each graph has memory of its own

    def __init__(self, step: BilevelStep, *, capture: str = "auto", graphs: Graphs | None = None) -> None:
        if capture not in ("auto", "off"):
            raise SupernetError(unknown("setting capture", capture, ["auto", "off"]))
        self.step, self.guard, self.device = step, step.guard, step.device
        self.why_not = "capture=off" if capture == "off" else _why_not(step, graphs)
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._forms: dict[object, _Form] = {}
        self._graphs = graphs
        if self.why_not is None and graphs is None:
            self._graphs = CudaGraphs(self.device)
        # A graph cannot wait for a draw; on a processor the host may, and then runs only what was drawn.
        step.method.gates_on_device = self.why_not is None or self.device.type != "cpu"
        if self.why_not is not None and capture != "off" and self.device.type == "cuda":
            log.info("steps run without a CUDA graph: %s", self.why_not)

    @property
    def captured(self) -> bool:
        """Whether some form of step has its graph."""
        return any(form.graph is not None for form in self._forms.values())

    def __call__(self, train: Batch, val: Batch | None, epoch: int, number: int) -> PhaseSums:
        """Step `number` of a run, on a batch for the weights and one for the alphas (None: the alphas rest).

        The batches' tensors are on the device. Returns the task's sums, as `BilevelStep` does.
        """
        self.step.prepare(epoch, number)
        self.guard.at(number)
        form = self._form(train, val) if self.why_not is None else None
        if form is None or self._graphs is None:
            self._run(train, val)
        elif form.steps < self.WARM_UP:
            self._warm_up(form, self._graphs, train, val)
        elif form.graph is not None or self._capture(form, self._graphs, train, val):
            form.replay(train, val)
        else:
            self._run(train, val)
        return {phase: dict(totals) for phase, totals in self._sums.items() if phase != "alpha" or val is not None}

    def reset(self) -> None:
        """Forgets the graphs: for when something was loaded that may have put tensors in other places."""
        self._forms.clear()

    def _run(self, train: Batch, val: Batch | None) -> None:
        """One step as it is; its sums are copied to where those of every step are."""
        sums = self.step.run(train, val)
        self.guard.count()
        for phase, values in sums.items():
            places = self._sums.setdefault(phase, {})
            for name, value in values.items():
                if name in places:
                    places[name].copy_(value)
                else:
                    places[name] = value.detach().clone()

    def _form(self, train: Batch, val: Batch | None) -> "_Form | None":
        key = _form_of((train, val))
        if key not in self._forms and len(self._forms) < self.MOST_FORMS:
            self._forms[key] = _Form()
        return self._forms.get(key)

    def _warm_up(self, form: "_Form", graphs: Graphs, train: Batch, val: Batch | None) -> None:
        """One step as it is; the last one before a capture is watched for what a graph would not do."""
        form.steps += 1
        reads, drawn = HostReads(self.device), _drawn()
        last = form.steps == self.WARM_UP  # by now whatever is done only once has been done
        with graphs.aside(), reads if last else nullcontext():
            self._run(train, val)
        if not last:
            return
        host, device = (before != after for before, after in zip(drawn, _drawn(), strict=True))
        if reads.seen:
            self._leave(reads.seen[0])
        elif host:
            self._leave("the network draws random numbers on the host")
        elif device and any(self.step.method.repeats(half) for half in HALVES):
            self._leave("differences of passes repeat the network's random draws, which a graph does not")

    def _capture(self, form: "_Form", graphs: Graphs, train: Batch, val: Batch | None) -> bool:
        """Gives a form its graph; False where that failed, and then no step is captured any more."""
        form.train, form.val = _map(train, Tensor.clone), _map(val, Tensor.clone)
        try:
            form.graph = graphs.capture(lambda: self._run(form.train, form.val))
        except (RuntimeError, SupernetError) as error:
            for p in self.step.net.parameters():
                p.grad = None  # in memory of the graph that came to nothing
            self._leave(_reason(error))
            return False
        log.info("steps run as a CUDA graph from here on, on batches %s", _shapes((train, val)))
        return True

    def _leave(self, why: str) -> None:
        self.why_not = why
        self.reset()
        log.info("steps run without a CUDA graph: %s", why)


class _Form:
    """Batches of one form: how many steps there were, the places that the graph reads them from, and the graph."""

    def __init__(self) -> None:
        self.steps = 0
        self.train: Nested = None
        self.val: Nested = None
        self.graph: Graph | None = None

    def replay(self, train: Batch, val: Batch | None) -> None:
        """A step on these batches; what of them lies on the host stays out, because no graph reads it."""
        for place, value in zip(_leaves((self.train, self.val)), _leaves((train, val)), strict=True):
            if isinstance(place, Tensor) and place is not value:
                place.copy_(value, non_blocking=True)
        if self.graph is not None:
            self.graph.replay()


def _why_not(step: BilevelStep, graphs: Graphs | None) -> str | None:
    """What is known to keep steps from being captured before one has run."""
    if step.device.type != "cuda" and graphs is None:
        return f"there are no CUDA graphs on the device {step.device.type}"
    if step.ranks.world > 1:
        return "several ranks average their gradients"
    if step.method.double_backward:
        return "the hypergradient differentiates twice"
    if step.method.stays_out:
        return step.method.stays_out
    if step.guard.waits and step.guard.on:
        return "the guard reads each step's flag on the host"
    fused = all(optimizer.defaults.get("fused") for optimizer in (step.weight_optimizer, step.alpha_optimizer))
    return None if fused else "the network has parameters that torch's fused optimisers do not take"


def _reason(error: BaseException) -> str:
    """The first line of what broke a capture off: the end of the capture fails as well and says less."""
    inner = None if error.__suppress_context__ else error.__context__
    return (str(inner or "") or str(error)).partition("\n")[0][:200]


def _drawn() -> tuple[object, object]:
    """The states of the host's random generators, and of the devices', to compare."""
    state = rng_state()
    return [state["python"], state["numpy"], state["torch"].tolist()], [one.tolist() for one in state["cuda"]]


def _map(value: Nested, f: Callable[[Tensor], Tensor]) -> Nested:
    """`value` with `f` of each tensor in its lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        return f(value)
    if isinstance(value, Mapping):
        return {key: _map(item, f) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_map(item, f) for item in value))
    return type(value)(_map(item, f) for item in value) if isinstance(value, list | tuple) else value


def _leaves(value: Nested) -> list[Nested]:
    if isinstance(value, Mapping):
        value = list(value.values())
    return [leaf for item in value for leaf in _leaves(item)] if isinstance(value, list | tuple) else [value]


def _form_of(batches: Nested) -> tuple[object, ...]:
    """What batches must have in common for one graph."""
    return tuple(
        (leaf.device, leaf.dtype, leaf.shape, leaf.stride())
        if isinstance(leaf, Tensor)
        else leaf if isinstance(leaf, str | int | float | None) else type(leaf)
        for leaf in _leaves(batches)
    )  # fmt: skip


def _shapes(batches: Nested) -> str:
    return ", ".join(str(tuple(leaf.shape)) for leaf in _leaves(batches) if isinstance(leaf, Tensor))
