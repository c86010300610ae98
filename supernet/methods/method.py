"""A gradient method: its parts, and the mixtures that they make of the alphas.

    mask -> relaxation, or a draw -> connectors -> (weight half only) perturbation -> forward

A method is composed from a configuration, then bound to a network. Its state dict holds its parts' buffers and the
parameters that learn with the alphas.
"""
# E edges, O operations
# mypy: disable-error-code="type-abstract"

from collections.abc import Mapping, Sequence
from typing import TypeVar

from torch import Tensor, nn

from ..config import MethodConfig, SearchConfig
from ..network import Supernet
from ..network.connector import EdgeHooks, Observer
from ..network.executor import Executor
from ..network.executor.registry import refuse_hooks
from ..network.mixture import HostMask, Mixture
from ..space import Genotype, Space, Table
from .compose import SEVERAL, compose
from .look import Look
from .noise import Half, Noise
from .part import Clock, Part
from .parts import (
    AfterUpdate,
    AlphaOptimiser,
    Connector,
    EdgeConnector,
    GradientFilter,
    Hypergradient,
    MixConnector,
    Perturbation,
    Regulariser,
    Relaxation,
    Sampler,
    Schedule,
    Selector,
    Watcher,
)  # fmt: skip
from .problem import BatchName
from .refusals import cautions

__all__ = ["Method"]

P = TypeVar("P", bound=Part)


class Method(nn.Module):
    """The parts of `config`; raises SupernetError for unknown ones, and for pairs that do not go together."""

    relaxation: Relaxation
    hypergradient: Hypergradient
    alpha_optimiser: AlphaOptimiser
    selector: Selector
    connectors: Sequence[Connector]
    regularisers: Sequence[Regulariser]
    filters: Sequence[GradientFilter]
    after_update: Sequence[AfterUpdate]
    watchers: Sequence[Watcher]

    def __init__(self, config: MethodConfig) -> None:
        super().__init__()
        self.config = config
        parts = compose(config)
        self._all: list[tuple[str, str, Part]] = [
            (group, name, part) for group, members in parts.items() for name, part in members
        ]
        self._cautions = cautions(parts)
        self.relaxation = _one(parts, "relaxation", Relaxation)
        self.hypergradient = _one(parts, "hypergradient", Hypergradient)
        self.alpha_optimiser = _one(parts, "alpha_optimiser", AlphaOptimiser)
        self.selector = _one(parts, "selector", Selector)
        self.sampler: Sampler | None = _optional(parts, "sampler", Sampler)
        self.perturbation: Perturbation | None = _optional(parts, "perturbation", Perturbation)
        self.schedule: Schedule | None = _optional(parts, "schedule", Schedule)
        for group in SEVERAL:
            self.add_module(group, nn.ModuleList(part for _, part in parts[group]))
        for _, _, part in self._all:
            part.meet([other for _, _, other in self._all])
        self._noise: list[Noise] = []  # in a list: its buffers are made anew, and are no state
        self.gates_on_device = False  # whether draws may pick what runs on the device alone, as a graph needs it

    def check(self, space: Space, executor: Executor) -> None:
        """Raises SupernetError for parts that make no sense for a space, or that an executor cannot serve."""
        for _, _, part in self._all:
            part.check(space)
        connectors, observers = self._edge_connectors(), self._observers()
        if (connectors or observers) and not executor.serves_hooks:
            refuse_hooks(executor.name, EdgeHooks((), (), connectors, observers))

    def fits(self, config: SearchConfig) -> list[str]:
        """What a user should read about these parts under these settings.

        Raises SupernetError where a part would never act.
        """
        return [*self._cautions, *(line for _, _, part in self._all for line in part.fits(config))]

    def bind(self, net: Supernet, seed: int) -> None:
        """Ties the method to `net`: its parts get their shapes, and the network its relaxation and edge connectors."""
        for _, _, part in self._all:
            part.check(net.space)
            part.bind(net, seed)
        net.relaxation = self.weigh
        net.connect(self._edge_connectors())
        net.observe(self._observers())
        if self.sampler is not None:
            self._noise = [Noise(net.space.tables, seed, net.alphas()[0], self.sampler.numbers)]

    def alphas(self, net: Supernet) -> list[nn.Parameter]:
        """What the alphas' optimiser steps: the alphas [E, O] a table, then the parameters of parts, of any shapes."""
        return [*net.alphas(), *self._learning_with("alphas")]

    def weights(self, net: Supernet) -> list[nn.Parameter]:
        """What the weights' optimiser steps, of any shapes: the network's weights, then the parameters of parts."""
        return [*net.weights(), *self._learning_with("weights")]

    def _learning_with(self, whom: str) -> list[nn.Parameter]:
        return [p for _, _, part in self._all if part.learns_with == whom for p in part.parameters()]

    def weigh(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] of alphas [E, O], without a draw: relaxation, then the connectors of mixing weights."""
        return self._connected(self.relaxation(alpha_EO, table), table)

    def relaxed(self, net: Supernet) -> dict[str, Tensor]:
        """The relaxation alone, [E, O] a table and [1, O] a decision without alphas: no draw and no connectors."""
        p = dict(net.mixing())
        if self.connectors:
            alphas = net.options.masked(dict(net.alpha.items()))
            p |= {table.name: self.relaxation(alphas[table.name], table) for table in net.space.tables}
        return p

    def mixture(self, net: Supernet, half: Half, number: int = 0) -> Mixture:
        """What pass `number` of a half of a step runs, differentiable by the alphas; the same at every call of it."""
        if self.sampler is None:
            return net.mixture()
        self.sampler.for_half, self.sampler.number = half, number
        p: dict[str, Tensor] = dict(net.mixing())
        gates: dict[str, HostMask | Tensor] = {}
        alphas = net.options.masked(dict(net.alpha.items()))
        for table in net.space.tables:
            alpha_EO = alphas[table.name]
            noise_EO = self._noise[0].of("weights" if self.sampler.shared else half, table.name)
            self.sampler.table = table
            drawn_EO, gate_EO = self.sampler(self.relaxation(alpha_EO, table), alpha_EO, noise_EO)
            p[table.name] = self._connected(drawn_EO, table)
            if gate_EO is not None:
                gates[table.name] = gate_EO if self.gates_on_device else _on_host(gate_EO)
        return net.mixture(p, gates)

    def prepare(self, clock: Clock) -> None:
        """Before each step: whatever changes goes into buffers, the sampler's noise among it."""
        for _, _, part in self._all:
            part.prepare(clock)
        if self.sampler is not None:
            self._noise[0].fill(self.sampler.draw, clock.step, "sampler")

    def end_epoch(self, look: Look) -> dict[str, float]:
        """The parts' numbers of an ended epoch, as method/NAME."""
        return {f"method/{key}": value for _, _, part in self._all for key, value in part.end_epoch(look).items()}

    def present(self, net: Supernet) -> Genotype:
        """The genotype of the present state."""
        return self.selector.present(net)

    def repeats(self, half: Half) -> BatchName | None:
        """The batch whose passes in this half of a step must all see the same random draws of the network."""
        if half == "alphas":
            return "train" if self.hypergradient.uses_training_batch else "val" if self.hypergradient.repeats else None
        return "train" if any(part.repeats for part in self.regularisers) else None

    @property
    def passes(self) -> int:
        """How many passes the weights' half of a step adds up."""
        return 1 if self.sampler is None else self.sampler.passes

    @property
    def alphas_move(self) -> bool:
        """Whether the alphas mean anything: a gradient moves them, or a part does."""
        return self.hypergradient.learns or any("moves alphas" in part.traits for _, _, part in self._all)

    @property
    def stays_out(self) -> str:
        """Why steps of this method are not captured as a graph; "" where they are."""
        return next((part.stays_out for _, _, part in self._all if part.stays_out), "")

    @property
    def double_backward(self) -> str:
        """The name of a part that differentiates twice, "" where none does."""
        return next((name for _, name, part in self._all if part.double_backward), "")

    @property
    def past(self) -> int:
        """How many ended epochs some part may go back to."""
        return max((part.past for _, _, part in self._all), default=0)

    def load(self, state: Mapping[str, object]) -> None:
        """Takes over what `state_dict` gave; also that of before parts had a state, a mapping a group, all empty."""
        self.load_state_dict({key: value for key, value in state.items() if isinstance(value, Tensor)})

    def _edge_connectors(self) -> list[EdgeConnector]:
        return [part for part in self.connectors if isinstance(part, EdgeConnector)]

    def _observers(self) -> list[Observer]:
        return [part for _, _, part in self._all if isinstance(part, Observer)]

    def _connected(self, p_EO: Tensor, table: Table) -> Tensor:
        for connector in self.connectors:
            if isinstance(connector, MixConnector):
                p_EO = connector(p_EO, table)
        return p_EO


def _one(parts: Mapping[str, list[tuple[str, Part]]], group: str, kind: type[P]) -> P:
    (part,) = [part for _, part in parts[group] if isinstance(part, kind)]
    return part


def _optional(parts: Mapping[str, list[tuple[str, Part]]], group: str, kind: type[P]) -> P | None:
    return _one(parts, group, kind) if parts[group] else None


def _on_host(gate_EO: Tensor) -> HostMask:
    """The gate [E, O] as plain values, so that what does not run costs nothing; the host waits for it."""
    return tuple(tuple(row) for row in gate_EO.tolist())
