"""Parts for tests, one a group, in the registries that the real ones are in."""
# E edges, O operations, B batch, C channels, H height, W width

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supernet.config import AlphaConfig, SearchConfig
from supernet.methods.look import Look
from supernet.methods.part import Clock
from supernet.methods.parts import (
    AFTER_UPDATES,
    ALPHA_OPTIMISERS,
    CONNECTORS,
    FILTERS,
    HYPERGRADIENTS,
    PERTURBATIONS,
    REGULARISERS,
    RELAXATIONS,
    SAMPLERS,
    SCHEDULES,
    SELECTORS,
    WATCHERS,
    AfterUpdate,
    AlphaOptimiser,
    EdgeConnector,
    GradientFilter,
    Hypergradient,
    Perturbation,
    Regulariser,
    Relaxation,
    Sampler,
    Schedule,
    Selector,
    Watcher,
)  # fmt: skip
from supernet.methods.phase import Phase
from supernet.methods.problem import Estimate, Problem
from supernet.methods.verdict import Done, Enter, FixEdge, Freeze, Mask, Rollback, Stop, Verdict
from supernet.network.connector import EdgeSite
from supernet.network.mixture import Mixture
from supernet.space import Table

__all__ = ["CALLS"]

CALLS: list[str] = []  # the groups in the order in which their parts were called


class _Noted:
    """Notes that it was called."""

    group: str

    def note(self) -> None:
        CALLS.append(self.group)


@RELAXATIONS.register("toy")
class ToyRelaxation(Relaxation, _Noted):
    group = "relaxation"

    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        self.note()
        return torch.softmax(alpha_EO, dim=-1)


@CONNECTORS.register("toy")
class ToyConnector(EdgeConnector, _Noted):
    """Halves what every edge computes."""

    group = "connectors"

    def forward(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        self.note()
        return {name: y / 2 for name, y in outputs.items()}


@SAMPLERS.register("toy")
class ToySampler(Sampler, _Noted):
    group = "sampler"

    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        self.note()
        return p_EO * (1 + noise_EO), None


@PERTURBATIONS.register("toy")
class ToyPerturbation(Perturbation, _Noted):
    """The mixture turned by a tenth of the gradient by p of each site."""

    group = "perturbation"

    def forward(self, problem: Problem) -> Mixture:
        self.note()
        leaves = problem.leaves()
        gradients = torch.autograd.grad(problem.loss("train", leaves), leaves.p, allow_unused=True)
        moved = (p if g is None else p + 0.1 * g for p, g in zip(leaves.p, gradients, strict=True))
        return leaves._replace(p=tuple(p.detach() for p in moved))


@REGULARISERS.register("toy")
class ToyRegulariser(Regulariser, _Noted):
    """`weight` times half the squares of alphas and of weights."""

    group = "regularisers"

    def __init__(self, weight: float = 0.1) -> None:
        super().__init__()
        self.weight = weight

    def alphas(self, problem: Problem) -> Sequence[Tensor] | None:
        self.note()
        return [self.weight * a.detach() for a in problem.alphas]

    def weights(self, problem: Problem) -> Sequence[Tensor] | None:
        assert problem.value is not None
        return [self.weight * w.detach() for w in problem.weights]


@HYPERGRADIENTS.register("toy")
class ToyHypergradient(Hypergradient, _Noted):
    group = "hypergradient"

    def forward(self, problem: Problem) -> Estimate:
        self.note()
        loss = problem.loss("val")
        return Estimate(problem.gradient(loss, problem.alphas), None, loss.detach())


@FILTERS.register("toy")
class ToyFilter(GradientFilter, _Noted):
    group = "filters"

    def forward(self, problem: Problem) -> None:
        self.note()
        for w in problem.weights:
            if w.grad is not None:
                w.grad.mul_(0.5)


@ALPHA_OPTIMISERS.register("toy")
class ToyOptimiser(AlphaOptimiser, _Noted):
    """Plain gradient descent, then alphas clipped to [-1, 1]."""

    group = "alpha_optimiser"

    def make(self, alphas: Sequence[nn.Parameter], config: AlphaConfig) -> torch.optim.Optimizer:
        return torch.optim.SGD(alphas, lr=config.lr)

    @torch.no_grad()
    def after_step(self, alphas: Sequence[Tensor]) -> None:
        self.note()
        for alpha in alphas:
            alpha.clamp_(-1, 1)


@AFTER_UPDATES.register("toy")
class ToyAfterUpdate(AfterUpdate, _Noted):
    """Puts the first weight back."""

    group = "after_update"
    before_it: Tensor

    @torch.no_grad()
    def before(self, problem: Problem) -> None:
        self.before_it = problem.weights[0].clone()

    @torch.no_grad()
    def forward(self, problem: Problem) -> None:
        self.note()
        problem.weights[0].copy_(self.before_it)


@WATCHERS.register("toy")
class ToyWatcher(Watcher, _Noted):
    """After epoch `at` one verdict of the `kind`; a buffer counts the epochs, a state that has to be resumed."""

    group = "watchers"
    seen: Tensor

    def __init__(self, kind: str = "none", at: int = 1) -> None:
        super().__init__()
        self.kind, self.at, self.past = kind, at, 2 if kind == "rollback" else 0
        self.register_buffer("seen", torch.zeros(()))

    def verdict(self, look: Look) -> Sequence[Verdict]:
        self.note()
        self.seen += 1
        if look.history[-1].epoch != self.at:
            return ()
        (table, *_) = look.net.space.tables
        rows, columns = table.shape
        halves = [tuple(tuple(o % 2 == half for o in range(columns)) for _ in range(rows)) for half in (0, 1)]
        verdicts: dict[str, tuple[Verdict, ...]] = {
            "mask": (Mask({table.name: halves[1]}),),
            "fix": (FixEdge(table.name, 0, 3),),
            "freeze": (Freeze(operations=((0, 1, 2),), tables=(table.name,)),),
            "stop": (Stop(look.history[0].genotype),),
            "rollback": (Rollback(self.at - 1, {"weights.weight_decay": 0.01}),),
            "branch": (
                Enter(tuple(Phase(1, masks={table.name: half}, starts_from="parent") for half in halves)),
            ),
            "done": (Done(),),
        }  # fmt: skip
        return verdicts.get(self.kind, ())


@SELECTORS.register("toy")
class ToySelector(Selector, _Noted):
    """Fixes one row of the first table a round, by the metrics under each option alone; done with the second row."""

    group = "selector"
    row: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("row", torch.zeros((), dtype=torch.int64))

    def round(self, look: Look) -> Sequence[Verdict]:
        self.note()
        (table, *_) = look.net.space.tables
        row = int(self.row)
        scores = {}
        for column in range(1, table.shape[1]):  # without none: a node of DARTS cannot keep it
            if not look.net.masks()[table.name][row][column]:
                continue
            mask = [list(runs) for runs in look.net.masks()[table.name]]
            mask[row] = [o == column for o in range(table.shape[1])]
            gate = tuple(tuple(runs) for runs in mask)
            scores[column] = look.measure(look.net.mixture(gates={table.name: gate}))["loss"]
        self.row += 1
        best = FixEdge(table.name, row, min(scores, key=lambda column: scores[column]))
        return (best, Done()) if row == 1 else (best,)


@SCHEDULES.register("toy")
class ToySchedule(Schedule, _Noted):
    """An epoch, then a deeper network with three operations a row, its weights `starts_from`; then `select` rounds."""

    group = "schedule"

    def __init__(self, starts_from: str = "fresh", select: bool = False) -> None:
        super().__init__()
        self.starts_from, self.select = starts_from, select

    def prepare(self, clock: Clock) -> None:
        assert 0 <= clock.epoch < clock.epochs

    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        self.note()
        deeper = Phase(1, network={"layers": 4}, keep=3, starts_from=self.starts_from)  # type: ignore[arg-type]
        selection = Phase(3, learns=frozenset({"weights", "selection"}))
        return (Phase(1), deeper, selection) if self.select else (Phase(1), deeper)
