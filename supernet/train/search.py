"""The stage `search`: train a supernet bilevel, measure it after each epoch, discretise it at the end."""

# E edges, O operations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ..config import SearchConfig
from ..data.loader import CountedLoader, CyclingLoader, EvalLoader
from ..data.resident import Residents
from ..data.splits import Splits
from ..errors import NumbersError, SupernetError
from ..methods import DISCRETISERS, RELAXATIONS
from ..network import Supernet, make_executor
from ..network.entropy import entropies
from ..network.macro import Body, macro_of
from ..runs.log import RunLog
from ..runtime.device import autocast
from ..runtime.guard import Guard
from ..runtime.ranks import Ranks
from ..space import Genotype, Space
from ..space.space import Strengths
from ..tasks.task import Task
from .bilevel import BilevelStep
from .captured import CapturedStep
from .compatibility import check_fits, fit_arguments
from .measure import evaluate, phase_metrics
from .non_finite import refused, stop

__all__ = ["SearchProgram", "strengths_of"]


class SearchProgram:
    """Weights learn from one part of the training split and alphas from the other; the test split stays closed."""

    stage = "search"

    def __init__(
        self,
        config: SearchConfig,
        space: Space,
        splits: Splits,
        task: Task,
        device: torch.device,
        ranks: Ranks | None = None,
        *,
        show: Callable[[RunLog, int, Supernet, Genotype], None] | None = None,
    ) -> None:
        """`show(run_log, step, net, genotype)` draws the search so far; None: nothing is drawn."""
        self._show = show
        self.config, self.space, self.task, self.device = config, space, task, device
        self.ranks = ranks or Ranks()
        arguments = fit_arguments(macro_of(space).relaxed, config.network, splits.info, task)
        self.net = Supernet(space, executor=config.executor, seed=config.seed, **arguments).to(device)
        self.discretiser = DISCRETISERS[config.method.discretiser or space.projection]()
        self.guard = Guard(config.guard, self.net, device)
        self.bilevel = BilevelStep(
            self.net,
            task,
            method=config.method,
            weights=config.weights,
            alphas=config.alphas,
            epochs=config.epochs,
            amp=config.amp,
            guard=self.guard,
            ranks=self.ranks,
        )
        self.stepper = CapturedStep(self.bilevel, capture=config.capture)
        for_weights, for_alphas = splits.for_search(config.alpha_share)
        check_fits(self.net, task, for_weights, device)
        shared: dict[str, Any] = {"batch_size": config.batch_size, "seed": config.seed, "workers": config.data.workers}
        shared |= {"share": self.ranks.share, "device": device}
        residents = Residents(device, config.data.resident)
        self.train = CountedLoader(for_weights, stream="weights", resident=residents.of(for_weights), **shared)
        shared["resident"] = residents.of(for_alphas)
        self.alphas = CyclingLoader(CountedLoader(for_alphas, stream="alphas", **shared))
        shared.pop("seed")
        self.val = EvalLoader(for_alphas, **shared)
        self.steps = len(self.train)
        self._drawn: Genotype | None = None

    def start(self) -> None:
        """Weights and alphas are drawn from the seed on construction; ranks make sure of it."""
        self.ranks.same_state(self.net)

    def batches(self, epoch: int, start: int) -> Iterator[Any]:
        return self.train.epoch(epoch, start)

    def step(self, batch: Any, epoch: int, step: int) -> Mapping[str, Mapping[str, Tensor]]:
        self.ranks.seed_step(self.config.seed, step)
        learns = epoch >= self.config.method.warmup_epochs
        sums = self.stepper(batch, self.alphas.at(step) if learns else None, epoch, step)
        if self.guard.look(step):
            raise self._stopped()
        return sums

    def check(self, step: int) -> None:
        """Raises NumbersError where the state after `step` must not be saved."""
        if self.guard.tripped():
            raise self._stopped()
        try:
            self.guard.check(self.state_dict())
        except NumbersError as error:
            raise refused(error, self.config.seed, step, self._indices("weights", step)) from None

    def _stopped(self) -> NumbersError:
        """Runs the last skipped batch again, with the executor whose modules can be watched."""
        told = self.guard.report()
        part, step = told["part"], told["step"]
        body = cast(Body, self.net.body)
        if body.executor is not None:
            body.executor = make_executor("reference")
        train = next(self.train.epoch(*divmod(step, self.steps)))

        def gradients() -> tuple[Tensor, Mapping[str, Tensor]]:
            if part == "alphas":
                loss, found, _ = self.bilevel.alpha_gradients(train, self.alphas.at(step))
                return loss, {f"alpha.{name}": g for name, g in zip(self.net.alpha, found, strict=True)}
            loss, _ = self.bilevel.weight_gradients(train)
            return loss, {name: p.grad for name, p in self.net.named_parameters() if p.grad is not None}

        return stop(self.guard, self.net, self.config.seed, self._indices(part, step), gradients)

    def _indices(self, part: str, step: int) -> list[int]:
        loader = self.train if part == "weights" else self.alphas.loader
        epoch, number = divmod(step, len(loader))
        return loader.indices(epoch)[number].tolist()

    def metrics(self, sums: Mapping[str, Mapping[str, Tensor]]) -> dict[str, float]:
        return phase_metrics(self.task, sums)

    def end_epoch(self, epoch: int) -> dict[str, Any]:
        """Validation on the alphas' part, entropies and shares of skips, and the present genotype's hash."""
        self.ranks.same_buffers(self.net)
        with autocast(self.device, self.config.amp):
            val = evaluate(self.net, self.task, self.val, self.ranks)
        found: dict[str, Any] = {f"val/{name}": value for name, value in val.items()}
        mixing = {name: p_EO.detach() for name, p_EO in self.net.mixing().items()}
        # Of the whole space: nested decisions count as often as they are open.
        found["alpha/entropy"], each = entropies(self.space, mixing)
        for table in self.space.tables:
            p_EO = mixing[table.name]
            found[f"alpha/entropy/{table.name}"] = each[table.name]
            if "skip_connect" in table.columns:
                found[f"alpha/skip_share/{table.name}"] = float(p_EO[:, table.columns.index("skip_connect")].mean())
        genotype = self.genotype()
        self.ranks.assert_equal("the genotype", genotype.hash)
        ops = [name for row in self._taken(genotype).values() for name in row]
        found["genotype/skip_share"] = sum(op == "skip_connect" for op in ops) / max(len(ops), 1)
        found["genotype/hash"] = genotype.hash
        found["lr"] = self.bilevel.lr(epoch)
        return found

    def _taken(self, genotype: Genotype) -> dict[str, list[str]]:
        tables = {table.name: table for table in self.space.tables}
        return {
            name: [tables[name].columns[column] for _, column in taken]
            for name, taken in self.space.active(genotype).items()
            if name in tables
        }

    def better(self, metrics: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
        key = f"val/{self.task.selects}"
        return best is None or ((metrics[key] > best[key]) is self.task.maximise and metrics[key] != best[key])

    def show(self, run_log: RunLog, step: int, epoch: int) -> None:
        """Draw the cells when the genotype has changed, and always at the end."""
        genotype = self.genotype()
        if genotype != self._drawn or epoch + 1 == self.config.epochs:
            if self._show is not None:
                self._show(run_log, step, self.net, genotype)
            self._drawn = genotype

    def genotype(self) -> Genotype:
        """What the discretiser makes of the present state."""
        return self.discretiser(self.net)

    def result(self, metrics: Mapping[str, Any], versions: Mapping[str, Any]) -> Genotype:
        """The genotype with where it came from."""
        return self.genotype().with_origin(
            method=self.config.method.name,
            seed=self.config.seed,
            epochs=self.config.epochs,
            date=time.strftime("%Y-%m-%d", time.gmtime()),
            versions=dict(versions),
            metrics={k: v for k, v in metrics.items() if isinstance(v, int | float)},
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "bilevel": self.bilevel.state_dict(),
            "discretiser": self.discretiser.state_dict(),  # type: ignore[attr-defined]
            "guard": self.guard.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.bilevel.load_state_dict(state["bilevel"])
        self.discretiser.load_state_dict(state["discretiser"])  # type: ignore[attr-defined]
        self.guard.load_state_dict(state["guard"])
        self.stepper.reset()  # a part's state may have come to lie in other places

    def close(self) -> None:
        self.train.close()
        self.alphas.close()
        self.val.close()


def strengths_of(state: Mapping[str, Any], config: Mapping[str, Any], space: Space) -> Strengths:
    """The mixing weights, {table name: [E][O]}, in a `state` that `SearchProgram.state_dict` gave.

    `config` is the stored configuration of its run, in plain values. Raises SupernetError where the state is not that
    of a search, or of one of another space; its text goes on from "the run X ".
    """
    if "bilevel" not in state:
        raise SupernetError("has no alphas: it is no search")
    bilevel = state["bilevel"]
    relaxation: Any = RELAXATIONS[config["method"]["relaxation"]]()
    relaxation.load_state_dict(bilevel.get("parts", {}).get("relaxation", {}))
    strengths = {}
    for table in space.tables:
        alpha_EO = bilevel["net"].get(f"alpha.{table.name}")
        if alpha_EO is None or tuple(alpha_EO.shape) != table.shape:
            raise SupernetError(f"is of another space: it has no alphas {table.shape} called {table.name!r}")
        strengths[table.name] = relaxation(alpha_EO.masked_fill(~torch.tensor(table.mask), float("-inf"))).tolist()
    return strengths
