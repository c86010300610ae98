"""Settings of the stage `search`."""

from dataclasses import dataclass, field

from .checks import require
from .method import AlphaConfig, MethodConfig, WeightConfig
from .space import SpaceConfig
from .stage import StageConfig

__all__ = ["SearchConfig"]


@dataclass(frozen=True, kw_only=True)
class SearchConfig(StageConfig):
    """The stage `search`: one bilevel run."""

    space: SpaceConfig = field(default_factory=SpaceConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    weights: WeightConfig = field(default_factory=WeightConfig)
    alphas: AlphaConfig = field(default_factory=AlphaConfig)
    alpha_share: float = 0.5  # share of the training split that the alphas learn from
    executor: str = "auto"  # what runs the mixed cells: auto, reference, torch, cpu, cuda
    # of a genotype whose output its input does not reach: say so (name), or take the strongest live one near it
    # (neighbour).
    dead_cells: str = field(default="name", metadata={"since": 3})
    capture: str = "auto"  # whole steps as a CUDA graph, where CUDA is and a step allows it; off: never

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.capture in ("auto", "off"), f"capture={self.capture!r} must be auto or off")
        require(self.dead_cells in ("name", "neighbour"), f"dead_cells={self.dead_cells!r} must be name or neighbour")
        require(0 < self.alpha_share < 1, f"alpha_share={self.alpha_share} must lie between 0 and 1")
