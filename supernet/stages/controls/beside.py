"""Controls of a retraining: random cells of equal size, trained by the same recipe and seed, and what is said of them.

Published gains of architecture search are often within the noise of the training, so a found cell means little without
what chance finds at the same size. Each control is an ordinary run, which is found where it has ended: so a retraining
with controls is gone on with by the same command, like any other.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from ...config import RetrainConfig
from ...errors import SupernetError
from ...evaluate.controls import Draws
from ...files import JSON
from ...runs.shapes import Shape, require_shape
from ...space import Genotype, Space

__all__ = ["Control", "beside_chance", "control_rows", "controls_of", "drawn", "measured", "settings_of_control"]

TOLERANCE = 0.1  # the share of the parameters by which a control's network may differ
DRAWS = 2000  # random points that are looked at
SHAPE: Shape = {
    "genotype": str, "parameters": int, "metric": str, "score": (int, float), "maximise": bool,
    "seconds": (int, float), "folder": (str, type(None)),
}  # fmt: skip


@dataclass(frozen=True)
class Control:
    """One random cell as it was trained: the metric of the test split, else of the validation part."""

    genotype: str  # its hash
    parameters: int
    metric: str
    score: float
    maximise: bool  # whether more is better
    seconds: float
    folder: str | None

    def as_json(self) -> dict[str, JSON]:
        """Plain values, as result.json has them."""
        return dict(vars(self))


def drawn(
    space: Space, genotype: Genotype, config: RetrainConfig, parameters: Callable[[Genotype], int]
) -> list[Genotype]:
    """`config.controls` random points whose networks have as many parameters as that of `genotype`, within TOLERANCE.

    They are those of the seed, as in a comparison. Raises SupernetError where so many are not among DRAWS points.
    """
    draws = Draws(space, config.seed, parameters, most=DRAWS, admits=lambda point: point.hash != genotype.hash)
    found = draws.matching(parameters(genotype), config.controls, TOLERANCE)
    if found.shortfall:
        raise SupernetError(f"controls={config.controls}: only {found.shortfall}; controls={len(found.points)} works")
    return list(found.points)


def settings_of_control(config: RetrainConfig, number: int) -> RetrainConfig:
    """The settings of control `number`, from 1: those of the found cell, in a folder of its own."""
    name = config.run.name
    run = config.run if name is None else replace(config.run, name=f"{name}-random-{number}")
    return replace(config, controls=0, genotype="", run=run)


def measured(metrics: Mapping[str, float], selects: str) -> tuple[str, float]:
    """The name and the value by which networks are compared: of the test split, else of the validation part."""
    name = next(name for name in (f"test/{selects}", f"val/{selects}") if name in metrics)
    return name, float(metrics[name])


def controls_of(result: Mapping[str, object], where: Path) -> list[Control]:
    """Those in the result of a run; raises SupernetError where the file `where` does not hold what it should."""
    rows = result.get("controls", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SupernetError(f"{where} is damaged: 'controls' must be a list of objects")
    for row in rows:
        require_shape(row, SHAPE, where)
    return [Control(**{name: row[name] for name in SHAPE}) for row in rows]


def control_rows(score: float, controls: Sequence[Control]) -> dict[str, str]:
    """What is printed of the controls, beside the `score` of the found cell."""
    rows = {
        f"random {number}": f"{one.metric} {one.score:.4f}, {one.parameters:,} parameters"
        for number, one in enumerate(controls, start=1)
    }
    if controls:
        rows["beside chance"] = beside_chance(score, controls)
    return rows


def beside_chance(score: float, controls: Sequence[Control]) -> str:
    """How far `score` is from the median of one control or more, and what that is worth."""
    gap = score - median(one.score for one in controls)
    if gap:
        word = f"{abs(gap):.4f} " + ("better than" if (gap > 0) == controls[0].maximise else "worse than")
    else:
        word = "as good as"
    count = f"the median of {len(controls)} random cells" if len(controls) > 1 else "one random cell"
    return (
        f"{word} {count} of equal size, from one training each: a difference as "
        "small as that between two seeds is noise; supernet compare tells it from noise over seeds, with an interval"
    )
