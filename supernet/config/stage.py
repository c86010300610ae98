"""Settings that every stage of training has."""

from dataclasses import dataclass, field
from typing import Any

from ..arguments import MOST_OF_NETWORK
from .checks import require
from .data import DataConfig
from .run import CheckpointConfig, GuardConfig, LogConfig, RunConfig

__all__ = ["StageConfig"]


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """Seed, length and device of a training, its data, and how it is kept."""

    seed: int = 0  # of weights, alphas, data order, augmentation and cuts
    epochs: int = 50  # passes over the training part
    batch_size: int = 64  # samples a step, over all processes together
    device: str = "auto"  # auto (a GPU where there is one), cpu, cuda, cuda:1 ...
    amp: str = "off"  # off, or bf16: forward passes in bfloat16
    deterministic: bool = False  # the same bits on every run of a GPU too, at the price of speed
    # what the targets are for: auto (what the data say), classification, multi_label, regression, segmentation, or the
    # registered name of a task of your own
    task: str = field(default="auto", metadata={"since": 3})
    data: DataConfig = field(default_factory=DataConfig)
    network: dict[str, Any] = field(default_factory=dict)  # arguments of the network, such as channels and layers
    run: RunConfig = field(default_factory=RunConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)

    def __post_init__(self) -> None:
        require(self.epochs >= 1, f"epochs={self.epochs} must be 1 or more")
        require(self.batch_size >= 2, f"batch_size={self.batch_size} must be 2 or more (batch norm needs two samples)")
        require(self.amp in ("off", "bf16"), f"amp={self.amp!r} must be 'off' or 'bf16'")
        require(0 <= self.seed < 2**63, f"seed={self.seed} must lie in 0..2^63-1")
        for key, value in self.network.items():
            most = MOST_OF_NETWORK.get(key, 1_000_000)
            require(not isinstance(value, int) or value <= most, f"network.{key}={value} must be at most {most}")
