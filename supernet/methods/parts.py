"""The groups of parts: what each is given and gives back, and a registry a group.

group             called                                      one idea a file in
relaxation        alpha [E, O] -> p [E, O]                    relaxation/
connectors        p [E, O] -> p [E, O], or an edge's outputs  connector/
sampler           p, alpha, noise -> p, gate                  sampler/
perturbation      the mixture of the weight half              perturbation/
regularisers      gradients to add                            regulariser/
hypergradient     dL_val/dalpha                               hypergradient/
filters           the weights' gradients, before clipping     (none yet)
alpha_optimiser   the step of the alphas                      alpha_optimiser/
after_update      what follows the step of the weights        after_update/
watchers          verdicts at an epoch's end                  watcher/
selector          the genotype                                selector/
schedule          the phases                                  schedule/
"""
# E edges, O operations, B batch, C channels, H height, W width

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import AlphaConfig, SearchConfig
from ..network.connector import EdgeSite
from ..network.mixture import Mixture
from ..registry import Registry
from ..space import Genotype, Table
from .look import Look
from .noise import Half
from .part import Part
from .phase import Phase
from .problem import Estimate, Problem
from .verdict import Verdict

if TYPE_CHECKING:
    from ..network import Supernet

__all__ = [
    "AFTER_UPDATES", "ALPHA_OPTIMISERS", "CONNECTORS", "FILTERS", "GROUPS", "HYPERGRADIENTS", "PERTURBATIONS",
    "REGULARISERS", "RELAXATIONS", "SAMPLERS", "SCHEDULES", "SELECTORS", "WATCHERS", "AfterUpdate", "AlphaOptimiser",
    "Connector", "EdgeConnector", "GradientFilter", "Hypergradient", "MixConnector", "Perturbation", "Regulariser",
    "Relaxation", "Sampler", "Schedule", "Selector", "Watcher",
]  # fmt: skip


class Relaxation(Part):
    """Alphas to mixing weights."""

    @abstractmethod
    def forward(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] of the alphas [E, O] of a table, which are -inf where a row lacks the option."""


class Connector(Part):
    """Changes how an edge enters its node; one of the two kinds below."""


class MixConnector(Connector):
    """Works on mixing weights: edge normalisation, pairs of edges."""

    @abstractmethod
    def forward(self, p_EO: Tensor, table: Table) -> Tensor:
        """Mixing weights [E, O] out of those [E, O] of a table."""


class EdgeConnector(Connector):
    """Works on what an edge computes: dropout and noise on the skip, an auxiliary module."""

    @abstractmethod
    def forward(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs [B, C, H, W] to be weighed, by operation, out of those that ran on the edge's input [B, C, H, W].

        Without a change it gives back `outputs` itself.
        """


class Sampler(Part):
    """Draws the mixing weights that a half of a step runs with; every pass of that half sees the same draw.

    `numbers` is how many uniform numbers each option gets: with N above 1 the noise is [E, O, N]. `shared` says that
    both halves of a step run with one draw. The weights' half adds up the gradients of `passes` draws.
    `for_half`, `number` and `table` say, before each call, which half of a step it is for, which pass and which table.
    """

    numbers: int = 1
    shared: ClassVar[bool] = False
    passes: int = 1
    for_half: Half = "weights"
    number: int = 0
    table: Table

    def draw(self, uniform_EO: NDArray[np.float64]) -> NDArray[np.float64]:
        """The noise [E, O] of a table from counted uniform numbers [E, O] in [0, 1); as they are by default."""
        return uniform_EO

    @abstractmethod
    def forward(self, p_EO: Tensor, alpha_EO: Tensor, noise_EO: Tensor) -> tuple[Tensor, Tensor | None]:
        """(mixing weights [E, O], gate [E, O] or None) of relaxed weights, alphas and noise, all [E, O].

        The gate is true where an operation runs; None runs all. It must be a function of these and of buffers alone.
        """


class Perturbation(Part):
    """Another mixture for the weights' half of a step."""

    @abstractmethod
    def forward(self, problem: Problem) -> Mixture:
        """The mixture that the weights learn under."""


class Regulariser(Part):
    """Terms of the loss, as gradients to add; a half without one gives None.

    `needs_slopes` asks for `problem.slopes` in the weights' half.
    """

    needs_slopes: ClassVar[bool] = False

    def alphas(self, problem: Problem) -> Sequence[Tensor] | None:
        """Gradients to add to those of the alphas, each [E, O]."""
        return None

    def weights(self, problem: Problem) -> Sequence[Tensor] | None:
        """Gradients to add to those of the weights, in the shapes of the weights; `problem.value` is the loss."""
        return None


class Hypergradient(Part):
    """Estimates dL_val/dalpha of a bilevel problem at its present weights, which it leaves untouched.

    `single_level` says that there is one loss: alphas and weights learn from one backward on the training batch.
    """

    uses_training_batch: bool = False
    learns: ClassVar[bool] = True  # false: the alphas take no step
    single_level: ClassVar[bool] = False

    @abstractmethod
    def forward(self, problem: Problem) -> Estimate:
        """The estimate, [E, O] a table."""


class GradientFilter(Part):
    """Changes the weights' gradients after the backward and before clipping, in place."""

    @abstractmethod
    def forward(self, problem: Problem) -> None:
        """Reads and writes `grad` of `problem.weights`."""


class AlphaOptimiser(Part):
    """What steps the alphas."""

    @abstractmethod
    def make(self, alphas: Sequence[nn.Parameter], config: AlphaConfig) -> torch.optim.Optimizer:
        """The optimiser of the alphas, each [E, O], and of the parameters of parts that learn with them."""

    def before_step(self, alphas: Sequence[Tensor]) -> None:
        """Called before its step, which has not yet changed the alphas, each [E, O]. Nothing by default."""

    def after_step(self, alphas: Sequence[Tensor]) -> None:
        """What follows its step, in place on the alphas, each [E, O]: clip, project, rescale. Nothing by default."""


class AfterUpdate(Part):
    """Undoes what weight decay and momentum do to paths that did not run; proximal steps."""

    def before(self, problem: Problem) -> None:
        """Called before the weights' optimiser steps."""

    @abstractmethod
    def forward(self, problem: Problem) -> None:
        """Called after it; writes `problem.weights` and `problem.momentum_buffers` in place."""


class Watcher(Part):
    """Looks at each ended epoch and decides: prune, fix, freeze, stop, go back, enter other phases."""

    @abstractmethod
    def verdict(self, look: Look) -> Sequence[Verdict]:
        """The decisions, carried out in their order; none where all goes on."""


class Selector(Part):
    """Makes the genotype: at any time, cheaply, and at the end in rounds where a method has a final selection."""

    def present(self, net: "Supernet") -> Genotype:
        """The genotype of the present state: the space's own projection of the strengths."""
        return net.genotype()

    def round(self, look: Look) -> Sequence[Verdict]:
        """One round of a final selection, after each epoch of a phase that learns "selection"; `Done` ends it."""
        raise NotImplementedError(f"{type(self).__name__} has no final selection")


class Schedule(Part):
    """Plans the phases of a search."""

    @abstractmethod
    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        """The phases, one after the other."""


RELAXATIONS: Registry[type[Relaxation]] = Registry("relaxation")
CONNECTORS: Registry[type[Connector]] = Registry("connector")
SAMPLERS: Registry[type[Sampler]] = Registry("sampler")
PERTURBATIONS: Registry[type[Perturbation]] = Registry("perturbation")
REGULARISERS: Registry[type[Regulariser]] = Registry("regulariser")
HYPERGRADIENTS: Registry[type[Hypergradient]] = Registry("hypergradient")
FILTERS: Registry[type[GradientFilter]] = Registry("filter")
ALPHA_OPTIMISERS: Registry[type[AlphaOptimiser]] = Registry("alpha optimiser")
AFTER_UPDATES: Registry[type[AfterUpdate]] = Registry("after update")
WATCHERS: Registry[type[Watcher]] = Registry("watcher")
SELECTORS: Registry[type[Selector]] = Registry("selector")
SCHEDULES: Registry[type[Schedule]] = Registry("schedule")

# The group's field in the configuration -> its registry.
GROUPS: Mapping[str, Registry[type[Part]]] = {
    "relaxation": RELAXATIONS,
    "connectors": CONNECTORS,
    "sampler": SAMPLERS,
    "perturbation": PERTURBATIONS,
    "regularisers": REGULARISERS,
    "hypergradient": HYPERGRADIENTS,
    "filters": FILTERS,
    "alpha_optimiser": ALPHA_OPTIMISERS,
    "after_update": AFTER_UPDATES,
    "watchers": WATCHERS,
    "selector": SELECTORS,
    "schedule": SCHEDULES,
}
