"""Settings of a gradient method: its parts, and the optimisers of weights and alphas."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .checks import require

__all__ = ["AlphaConfig", "MethodConfig", "WeightConfig"]


Part: TypeAlias = str | dict[str, Any]  # a part by its name, or {name: NAME, ARGUMENT: VALUE}
Parts: TypeAlias = list[Any] | str | dict[str, Any]  # one part or a list of them
LATER = {"since": 2}


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """A gradient method as parts, each by its registered name or with arguments (methods/parts.py says what each does).

    `order` is which half of a step comes first, `alpha_every` how many steps there are to one of the alphas.
    """

    name: str = "darts"  # what runs and genotypes call the method
    relaxation: Part = "softmax"  # alphas to mixing weights
    hypergradient: Part = "first_order"  # how the gradient of the alphas is estimated
    warmup_epochs: int = 0  # epochs in which only weights learn
    connectors: Parts = field(default_factory=list, metadata=LATER)  # how edges enter their nodes
    sampler: Part | None = field(default=None, metadata=LATER)  # a draw of the mixing weights in each half of a step
    perturbation: Part | None = field(default=None, metadata=LATER)  # other mixing weights while the weights learn
    regularisers: Parts = field(default_factory=list, metadata=LATER)  # terms that are added to the losses
    filters: Parts = field(default_factory=list, metadata=LATER)  # what changes the weights' gradients
    alpha_optimiser: Part = field(default="adam", metadata=LATER)  # what steps the alphas
    after_update: Parts = field(default_factory=list, metadata=LATER)  # what follows each step of the weights
    # what looks at each ended epoch and may prune, freeze or stop
    watchers: Parts = field(default_factory=list, metadata=LATER)
    selector: Part = field(default="projection", metadata=LATER)  # what makes the genotype
    schedule: Part | None = field(default=None, metadata=LATER)  # the phases of the search
    # which half of a step comes first: alpha_first or weight_first
    order: str = field(default="alpha_first", metadata=LATER)
    alpha_every: int = field(default=1, metadata=LATER)  # steps of the weights to one of the alphas

    def __post_init__(self) -> None:
        require(self.warmup_epochs >= 0, f"method.warmup_epochs={self.warmup_epochs} must be 0 or more")
        require(self.alpha_every >= 1, f"method.alpha_every={self.alpha_every} must be 1 or more")
        orders = ("alpha_first", "weight_first")
        require(self.order in orders, f"method.order={self.order!r} must be {' or '.join(orders)}")


@dataclass(frozen=True, kw_only=True)
class WeightConfig:
    """Optimiser of the weights during search (DARTS, arXiv:1806.09055, section 3): SGD with a cosine schedule."""

    lr: float = 0.025  # learning rate in the first epoch
    min_lr: float = 0.001  # learning rate that the cosine ends at
    momentum: float = 0.9  # of SGD, in [0, 1)
    weight_decay: float = 3e-4  # of SGD
    clip: float = 5.0  # largest gradient norm; 0 switches clipping off

    def __post_init__(self) -> None:
        require(self.lr > 0, f"weights.lr={self.lr} must be above 0")
        require(0 <= self.min_lr <= self.lr, f"weights.min_lr={self.min_lr} must lie in 0..weights.lr={self.lr}")
        require(0 <= self.momentum < 1, f"weights.momentum={self.momentum} must lie in [0, 1)")
        require(self.weight_decay >= 0, f"weights.weight_decay={self.weight_decay} must be 0 or more")
        require(self.clip >= 0, f"weights.clip={self.clip} must be 0 (off) or more")


@dataclass(frozen=True, kw_only=True)
class AlphaConfig:
    """Adam on the alphas (DARTS, section 3)."""

    lr: float = 3e-4  # learning rate of Adam
    weight_decay: float = 1e-3  # added to the gradient, as L2
    beta1: float = 0.5  # decay of the mean of gradients
    beta2: float = 0.999  # decay of the mean of their squares

    def __post_init__(self) -> None:
        require(self.lr > 0, f"alphas.lr={self.lr} must be above 0")
        require(self.weight_decay >= 0, f"alphas.weight_decay={self.weight_decay} must be 0 or more")
        for key in ("beta1", "beta2"):
            require(0 <= getattr(self, key) < 1, f"alphas.{key}={getattr(self, key)} must lie in [0, 1)")
