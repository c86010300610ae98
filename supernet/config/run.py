"""Settings of how a run is kept, saved, watched and logged; none of them changes a number."""

from dataclasses import dataclass, field

from ..errors import unknown
from .checks import require

__all__ = ["MAY_CHANGE", "CheckpointConfig", "GuardConfig", "LogConfig", "RunConfig"]


# Settings that a run may go on with other values of: those that its checkpoints do not hold.
MAY_CHANGE = (
    "amp", "epochs", "executor", "speed.channels_last", "speed.compile", "speed.fused", "weights.clip", "weights.lr",
    "weights.min_lr",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run lives; no part of its identity."""

    root: str = "runs"  # the folder of all run folders
    name: str | None = None  # the run's folder below run.root; null: made of the settings
    fresh: bool = False  # move an existing run aside and start anew
    allow_changes: list[str] = field(default_factory=list)  # settings that may differ from those of a run by this name

    def __post_init__(self) -> None:
        for key in self.allow_changes:
            require(key in MAY_CHANGE, unknown("setting in run.allow_changes", key, MAY_CHANGE))


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When to save; no part of a run's identity, because saving changes no number."""

    every_steps: int = 0  # 0: at the end of each epoch only
    keep: int = 2  # checkpoints that are kept, 2 or more

    def __post_init__(self) -> None:
        require(self.every_steps >= 0, f"checkpoint.every_steps={self.every_steps} must be 0 or more")
        require(self.keep >= 2, f"checkpoint.keep={self.keep} must be 2 or more: one may be bad, one is being written")


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What happens when numbers are not finite; no part of a run's identity, so that more skips may be allowed."""

    skips: int = 3  # a run stops after so many skipped steps in a row; 0 switches the guard off
    every: int = 10  # steps between two looks at a GPU's count; on the processor each step is looked at

    def __post_init__(self) -> None:
        require(self.skips >= 0, f"guard.skips={self.skips} must be 0 (off) or more")
        require(self.every >= 1, f"guard.every={self.every} must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """What is shown and written along the way; no part of a run's identity."""

    every: int = 10  # steps between two progress lines and two rows of metrics.jsonl
    tensorboard: bool = True  # write TensorBoard events
    report: bool = True  # write report.html, the page of the run, at the end and now and then before
    progress: bool = True  # show the progress line

    def __post_init__(self) -> None:
        require(self.every >= 1, f"log.every={self.every} must be 1 or more")
