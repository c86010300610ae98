"""Settings of a gradient method: its parts, and the optimisers of weights and alphas."""

from dataclasses import dataclass

from .checks import require

__all__ = ["AlphaConfig", "MethodConfig", "WeightConfig"]


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """A gradient method as a list of parts, each by its registered name."""

    name: str = "darts"
    relaxation: str = "softmax"
    hypergradient: str = "first_order"
    discretiser: str | None = None  # None: the space's own projection
    warmup_epochs: int = 0  # epochs in which only weights learn


@dataclass(frozen=True, kw_only=True)
class WeightConfig:
    """Optimiser of the weights during search (DARTS, arXiv:1806.09055, section 3): SGD with a cosine schedule."""

    lr: float = 0.025
    min_lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
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

    lr: float = 3e-4
    weight_decay: float = 1e-3
    beta1: float = 0.5
    beta2: float = 0.999

    def __post_init__(self) -> None:
        require(self.lr > 0, f"alphas.lr={self.lr} must be above 0")
        require(self.weight_decay >= 0, f"alphas.weight_decay={self.weight_decay} must be 0 or more")
        for key in ("beta1", "beta2"):
            require(0 <= getattr(self, key) < 1, f"alphas.{key}={getattr(self, key)} must lie in [0, 1)")
