"""Settings of the stage `retrain`."""

from dataclasses import dataclass, field

from .checks import require
from .stage import StageConfig

__all__ = ["RecipeConfig", "RetrainConfig", "SpeedConfig"]


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """How a discrete network is trained; names are timm's. The defaults are the DARTS recipe (CIFAR-10)."""

    opt: str = "sgd"  # timm's name of the optimiser
    lr: float = 0.025  # learning rate in the first epoch
    momentum: float = 0.9  # of SGD, in [0, 1)
    weight_decay: float = 3e-4  # of the optimiser
    filter_bias_and_bn: bool = False  # True: no weight decay on biases and norms (timm's default)
    sched: str = "cosine"  # timm's name of the schedule
    min_lr: float = 0.0  # learning rate that the schedule ends at
    warmup_epochs: int = 0  # epochs in which the rate rises from warmup_lr
    warmup_lr: float = 1e-5  # learning rate at the start of the warm-up
    decay_rate: float = 0.1  # factor of the step schedule
    decay_epochs: int = 30  # epochs between two steps of the step schedule
    clip: float = 5.0  # largest gradient norm; 0 switches clipping off
    drop_path: float = 0.2  # grows linearly from 0 over the epochs
    auxiliary: float = 0.4  # weight of the auxiliary loss; 0 switches the head off
    smoothing: float = 0.0  # of labels, in [0, 1)
    mixup: float = 0.0  # alpha of mixup; 0 switches it off
    cutmix: float = 0.0  # alpha of cutmix; 0 switches it off
    ema: float = 0.0  # decay of the weight average; 0 switches it off
    auto_augment: str | None = None  # timm's policy string, e.g. rand-m9-mstd0.5
    layer_decay: float | None = None  # factor of the rate from one layer to the one before; null: none

    def __post_init__(self) -> None:
        require(self.lr > 0, f"recipe.lr={self.lr} must be above 0")
        for key in ("weight_decay", "clip", "auxiliary", "mixup", "cutmix", "warmup_epochs"):
            require(getattr(self, key) >= 0, f"recipe.{key}={getattr(self, key)} must be 0 or more")
        for key in ("drop_path", "smoothing", "ema", "momentum"):
            require(0 <= getattr(self, key) < 1, f"recipe.{key}={getattr(self, key)} must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How a discrete network is run while it trains (network/training_form.py); changes rounding only."""

    channels_last: str = "auto"  # the memory format: auto (where it was measured to be faster), on, off
    fused: str = "auto"  # separable convolutions as fused operators: auto (as above), on, off
    compile: str = "off"  # torch.compile: on, off

    def __post_init__(self) -> None:
        for key, more in (("channels_last", ["auto"]), ("fused", ["auto"]), ("compile", [])):
            value, allowed = getattr(self, key), [*more, "on", "off"]
            require(value in allowed, f"speed.{key}={value!r} must be {' or '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(StageConfig):
    """The stage `retrain`: one genotype, trained from scratch."""

    genotype: str = ""  # a file, a run folder of the stage search, or a published name
    allow: list[str] = field(default_factory=list)  # as space.allow: for the space.yaml of the genotype's run
    allow_dead: bool = field(default=False, metadata={"since": 3})  # retrain one whose output its input does not reach
    controls: int = field(default=0, metadata={"since": 3})  # random cells of equal size that are trained beside it
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    val_fraction: float = 0.1  # share of the training split kept for selection; 0 keeps the last epoch

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.controls <= 1000, f"controls={self.controls} must lie in 0..1000")
        require(0 <= self.val_fraction < 1, f"val_fraction={self.val_fraction} must lie in [0, 1)")
