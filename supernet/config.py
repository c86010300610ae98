"""What a run is told: plain frozen dataclasses, the same for the command line and for notebooks.

Each class checks its own values on construction, before any data is touched; `from_mapping` turns nested mappings (a
composed Hydra configuration) into them and names unknown keys and wrong types.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from .arguments import MOST_OF_NETWORK
from .errors import SupernetError, unknown

__all__ = [
    "AlphaConfig", "CheckpointConfig", "DataConfig", "GuardConfig", "LogConfig", "MethodConfig",
    "RecipeConfig", "RetrainConfig", "RunConfig", "SearchConfig", "SpaceConfig", "SpeedConfig", "WeightConfig",
    "from_mapping",
]  # fmt: skip

T = TypeVar("T")

# Settings that a run may go on with other values of: those that its checkpoints do not hold.
MAY_CHANGE = (
    "amp", "epochs", "executor", "speed.channels_last", "speed.compile", "speed.fused", "weights.clip", "weights.lr",
    "weights.min_lr",
)  # fmt: skip


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise SupernetError(message)


@dataclass(frozen=True, kw_only=True)
class SpaceConfig:
    """A search space by its registered name, with the arguments of its factory, or by a YAML file, which wins."""

    name: str = "darts"
    args: dict[str, Any] = field(default_factory=dict)
    file: str | None = None
    allow: list[str] = field(default_factory=list)  # prefixes of import paths whose classes the file may name


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set and its counted augmentation; None takes the default of the data set's entry."""

    name: str = "digits"
    root: str | None = None
    download: bool = False
    image_size: int | None = None  # pixels a side, after resizing
    in_chans: int | None = None  # 1 grey or 3 RGB
    flip: bool | None = None  # mirror left-right with probability .5
    pad: int | None = None  # pixels of zero padding before the random crop
    cutout: int | None = None  # side of the square set to zero, in pixels, before it is fitted to small images
    workers: int = 0
    resident: str = "auto"  # images in memory are moved to the device: auto (a GPU with room for them), on, off
    limit: int | None = None  # use only the first N training samples of the counted permutation
    kwargs: dict[str, Any] = field(default_factory=dict)  # passed to timm.data.create_dataset

    def __post_init__(self) -> None:
        _require(self.workers >= 0, f"data.workers={self.workers} must be 0 or more")
        _require(self.resident in ("auto", "on", "off"), f"data.resident={self.resident!r} must be auto, on or off")
        for key in ("image_size", "in_chans", "limit"):
            value = getattr(self, key)
            _require(value is None or value >= 1, f"data.{key}={value} must be 1 or more")
        for key in ("pad", "cutout"):
            value = getattr(self, key)
            _require(value is None or value >= 0, f"data.{key}={value} must be 0 or more")


Named: TypeAlias = str | dict[str, Any]  # a part by its name, or {name: NAME, ARGUMENT: VALUE}
Several: TypeAlias = list[Any] | str | dict[str, Any]  # parts by name, one or a list
NEW = {"since": 2}  # a setting that runs from before it do not have: at its default it is no part of their identity


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """A gradient method as parts, each by its registered name or with arguments (methods/parts.py says what each does).

    `order` is which half of a step comes first, `alpha_every` how many steps there are to one of the alphas.
    """

    name: str = "darts"
    relaxation: Named = "softmax"
    hypergradient: Named = "first_order"
    warmup_epochs: int = 0  # epochs in which only weights learn
    connectors: Several = field(default_factory=list, metadata=NEW)
    sampler: Named | None = field(default=None, metadata=NEW)
    perturbation: Named | None = field(default=None, metadata=NEW)
    regularisers: Several = field(default_factory=list, metadata=NEW)
    filters: Several = field(default_factory=list, metadata=NEW)
    alpha_optimiser: Named = field(default="adam", metadata=NEW)
    after_update: Several = field(default_factory=list, metadata=NEW)
    watchers: Several = field(default_factory=list, metadata=NEW)
    selector: Named = field(default="projection", metadata=NEW)
    schedule: Named | None = field(default=None, metadata=NEW)
    order: str = field(default="alpha_first", metadata=NEW)  # or weight_first
    alpha_every: int = field(default=1, metadata=NEW)

    def __post_init__(self) -> None:
        _require(self.warmup_epochs >= 0, f"method.warmup_epochs={self.warmup_epochs} must be 0 or more")
        _require(self.alpha_every >= 1, f"method.alpha_every={self.alpha_every} must be 1 or more")
        orders = ("alpha_first", "weight_first")
        _require(self.order in orders, f"method.order={self.order!r} must be {' or '.join(orders)}")


@dataclass(frozen=True, kw_only=True)
class WeightConfig:
    """Optimiser of the weights during search (DARTS, arXiv:1806.09055, section 3): SGD with a cosine schedule."""

    lr: float = 0.025
    min_lr: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0  # largest gradient norm; 0 switches clipping off

    def __post_init__(self) -> None:
        _require(self.lr > 0, f"weights.lr={self.lr} must be above 0")
        _require(0 <= self.min_lr <= self.lr, f"weights.min_lr={self.min_lr} must lie in 0..weights.lr={self.lr}")
        _require(0 <= self.momentum < 1, f"weights.momentum={self.momentum} must lie in [0, 1)")
        _require(self.weight_decay >= 0, f"weights.weight_decay={self.weight_decay} must be 0 or more")
        _require(self.clip >= 0, f"weights.clip={self.clip} must be 0 (off) or more")


@dataclass(frozen=True, kw_only=True)
class AlphaConfig:
    """Adam on the alphas (DARTS, section 3)."""

    lr: float = 3e-4
    weight_decay: float = 1e-3
    beta1: float = 0.5
    beta2: float = 0.999

    def __post_init__(self) -> None:
        _require(self.lr > 0, f"alphas.lr={self.lr} must be above 0")
        _require(self.weight_decay >= 0, f"alphas.weight_decay={self.weight_decay} must be 0 or more")
        for key in ("beta1", "beta2"):
            _require(0 <= getattr(self, key) < 1, f"alphas.{key}={getattr(self, key)} must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run lives; no part of its identity."""

    root: str = "runs"
    name: str | None = None
    fresh: bool = False
    allow_changes: list[str] = field(default_factory=list)  # settings that may differ from those of a run by this name

    def __post_init__(self) -> None:
        for key in self.allow_changes:
            _require(key in MAY_CHANGE, unknown("setting in run.allow_changes", key, MAY_CHANGE))


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save; no part of a run's identity, because saving changes no number."""

    every_steps: int = 0  # 0: at the end of each epoch only
    keep: int = 2

    def __post_init__(self) -> None:
        _require(self.every_steps >= 0, f"checkpoint.every_steps={self.every_steps} must be 0 or more")
        _require(self.keep >= 2, f"checkpoint.keep={self.keep} must be 2 or more: one may be bad, one is being written")


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What happens when numbers are not finite; no part of a run's identity, so that more skips may be allowed."""

    skips: int = 3  # a run stops after so many skipped steps in a row; 0 switches the guard off
    every: int = 10  # steps between two looks at a GPU's count; on the processor each step is looked at

    def __post_init__(self) -> None:
        _require(self.skips >= 0, f"guard.skips={self.skips} must be 0 (off) or more")
        _require(self.every >= 1, f"guard.every={self.every} must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is shown and written along the way; no part of a run's identity."""

    every: int = 10  # steps between two progress lines and two rows of metrics.jsonl
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        _require(self.every >= 1, f"log.every={self.every} must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class _StageConfig:
    seed: int = 0
    epochs: int = 50
    batch_size: int = 64
    device: str = "auto"
    amp: str = "off"
    deterministic: bool = False  # the same bits on every run of a GPU too, at the price of speed
    data: DataConfig = field(default_factory=DataConfig)
    network: dict[str, Any] = field(default_factory=dict)
    run: RunConfig = field(default_factory=RunConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, f"epochs={self.epochs} must be 1 or more")
        _require(self.batch_size >= 2, f"batch_size={self.batch_size} must be 2 or more (batch norm needs two samples)")
        _require(self.amp in ("off", "bf16"), f"amp={self.amp!r} must be 'off' or 'bf16'")
        _require(0 <= self.seed < 2**63, f"seed={self.seed} must lie in 0..2^63-1")
        for key, value in self.network.items():
            most = MOST_OF_NETWORK.get(key, 1_000_000)
            _require(not isinstance(value, int) or value <= most, f"network.{key}={value} must be at most {most}")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(_StageConfig):
    """The stage `search`: one bilevel run."""

    space: SpaceConfig = field(default_factory=SpaceConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    weights: WeightConfig = field(default_factory=WeightConfig)
    alphas: AlphaConfig = field(default_factory=AlphaConfig)
    alpha_share: float = 0.5  # share of the training split that the alphas learn from
    executor: str = "auto"
    capture: str = "auto"  # whole steps as a CUDA graph, where CUDA is and a step allows it; off: never

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.capture in ("auto", "off"), f"capture={self.capture!r} must be auto or off")
        _require(0 < self.alpha_share < 1, f"alpha_share={self.alpha_share} must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """How a discrete network is trained; names are timm's. The defaults are the DARTS recipe (CIFAR-10)."""

    opt: str = "sgd"
    lr: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4
    filter_bias_and_bn: bool = False  # True: no weight decay on biases and norms (timm's default)
    sched: str = "cosine"
    min_lr: float = 0.0
    warmup_epochs: int = 0
    warmup_lr: float = 1e-5
    decay_rate: float = 0.1
    decay_epochs: int = 30
    clip: float = 5.0
    drop_path: float = 0.2  # grows linearly from 0 over the epochs
    auxiliary: float = 0.4  # weight of the auxiliary loss; 0 switches the head off
    smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float = 0.0  # decay of the weight average; 0 switches it off
    auto_augment: str | None = None  # timm's policy string, e.g. rand-m9-mstd0.5
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        _require(self.lr > 0, f"recipe.lr={self.lr} must be above 0")
        for key in ("weight_decay", "clip", "auxiliary", "mixup", "cutmix", "warmup_epochs"):
            _require(getattr(self, key) >= 0, f"recipe.{key}={getattr(self, key)} must be 0 or more")
        for key in ("drop_path", "smoothing", "ema", "momentum"):
            _require(0 <= getattr(self, key) < 1, f"recipe.{key}={getattr(self, key)} must lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """How a discrete network is run while it trains (network/speed.py); changes rounding only."""

    channels_last: str = "auto"  # the memory format: auto (where it was measured to be faster), on, off
    fused: str = "auto"  # separable convolutions as fused operators: auto (as above), on, off
    compile: str = "off"  # torch.compile: on, off

    def __post_init__(self) -> None:
        for key, more in (("channels_last", ["auto"]), ("fused", ["auto"]), ("compile", [])):
            value, allowed = getattr(self, key), [*more, "on", "off"]
            _require(value in allowed, f"speed.{key}={value!r} must be {' or '.join(allowed)}")


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(_StageConfig):
    """The stage `retrain`: one genotype, trained from scratch."""

    genotype: str = ""  # a file, a run folder of the stage search, or a published name
    allow: list[str] = field(default_factory=list)  # as space.allow: for the space.yaml of the genotype's run
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    speed: SpeedConfig = field(default_factory=SpeedConfig)
    val_fraction: float = 0.1  # share of the training split kept for selection; 0 keeps the last epoch

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.val_fraction < 1, f"val_fraction={self.val_fraction} must lie in [0, 1)")


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """`values` as an instance of the dataclass `cls`; raises SupernetError for an unknown key or a wrong type."""
    hints = typing.get_type_hints(cls)
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in names:
            raise SupernetError(unknown("setting", f"{where}{key}", [f"{where}{n}" for n in names]))
    return cls(**{key: _convert(hints[key], value, f"{where}{key}") for key, value in values.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        _require(isinstance(value, Mapping), f"{where}={repr(value)[:80]} must be a group of settings")
        return from_mapping(typing.cast(type, hint), value, f"{where}.")
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    for option in options:
        plain = typing.get_origin(option) or option
        if plain is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if plain is not type(None) and isinstance(value, plain) and not (plain is int and isinstance(value, bool)):
            strange = [key for key in value if not isinstance(key, str)] if isinstance(value, dict) else []
            _require(not strange, f"{where} has the key {strange[:1]}: names of settings are text")
            return value
        if option == list[str] and isinstance(value, str):  # one text, or several with commas, for a list of them
            return [part for word in value.split(",") if (part := word.strip())]
    allowed = " or ".join("null" if o is type(None) else (typing.get_origin(o) or o).__name__ for o in options)
    raise SupernetError(f"{where}={repr(value)[:80]} must be of type {allowed}")
