"""The settings of the stage `compare`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...config import RunConfig
from ...config.checks import require

__all__ = ["CompareConfig"]


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Methods and controls under one budget. What else is typed are words of the searches and retrainings."""

    methods: list[str] = field(default_factory=lambda: ["darts", "default"])  # presets of method; the first: the base
    seeds: int | list[int] = 3  # how many, counted from 0, or which; the pairs of each difference
    random: int = 5  # random cells of equal parameters, for each method and seed; 0: none
    tolerance: float = 0.1  # share of the parameters by which a random cell may differ
    draws: int = 2000  # random points a seed that are looked at for those of equal parameters
    # a published cell to compare with: its name or a file; auto: that of the space, where there is one; off
    published: str = "auto"
    # random search with shared weights as one more method: auto (where there is such a preset), off
    random_ws: str = "auto"
    # a CSV of architectures and scores, or its YAML (docs/compare.md): scores come from it, and nothing is retrained
    table: str | None = None
    score: str | None = None  # the metric that is compared; null: by which the task, or the table, selects
    jobs: int = 1  # runs side by side, each in a process of its own; 1: one after the other in this one
    search: list[str] = field(default_factory=list)  # words of each search; KEY=VALUE on the command line lands here
    # words of each retraining, on top of the data and sizes of the search; retrain.KEY=VALUE lands here
    retrain: list[str] = field(default_factory=list)
    # settings to compare under, by name: each the words of its searches, {search: [...], retrain: [...]}
    rows: dict[str, object] = field(default_factory=dict)
    config_dir: str | None = None  # a folder of your own YAML files, such as methods; --config-dir lands here
    allow: list[str] = field(default_factory=list)  # prefixes of import paths whose classes a space file may name
    run: RunConfig = field(default_factory=RunConfig)  # of the comparison's folder; run.root is that of its runs, too

    def __post_init__(self) -> None:
        require(bool(self.methods), "methods names none; give methods=[darts]")
        _once("methods", self.methods)
        require(bool(self.seed_list), f"seeds={self.seeds} must be 1 or more, or a list of seeds")
        _once("seeds", self.seed_list)
        require(all(isinstance(seed, int) and seed >= 0 for seed in self.seed_list), "seeds must be whole numbers")
        for key, least in (("random", 0), ("draws", 1), ("jobs", 1)):
            require(getattr(self, key) >= least, f"{key}={getattr(self, key)} must be {least} or more")
        require(0 <= self.tolerance < 1, f"tolerance={self.tolerance} must lie in [0, 1)")
        require(self.random_ws in ("auto", "off"), f"random_ws={self.random_ws!r} must be auto or off")

    @property
    def seed_list(self) -> list[int]:
        """The seeds, in their order."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)


def _once(key: str, values: Iterable[object]) -> None:
    listed = list(values)
    twice = sorted({str(value) for value in listed if listed.count(value) > 1})
    require(not twice, f"{key} names {', '.join(twice)} twice")
