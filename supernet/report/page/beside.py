"""Other genotypes that were retrained by the same settings beside a run: the controls of what was found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ...errors import SupernetError
from ...runs.reading import RunRecord, number, read_run, run_folders

__all__ = ["Beside", "beside"]

MOST = 40
LESS_IS_BETTER = ("rmse", "loss", "mae", "perplexity", "bpc")  # the rest of the metrics that select are scores
OF_ONE = ("label", "stage")  # what differs between runs of one recipe


@dataclass(frozen=True)
class Beside:
    """Finished retrainings of one recipe, this run among them, best first; `lead` is this one's over their median."""

    metric: str
    rows: Sequence[Mapping[str, object]]
    lead: float | None
    same_seed: bool


def beside(run: RunRecord) -> Beside | None:
    """The runs in the same folder whose settings differ in the genotype, and maybe the seed, alone; None without any.

    Compared is the test metric where all have one, else the validation metric that selects.
    """
    if run.stage != "retrain" or run.result is None:
        return None
    others = []
    for path in run_folders(run.path.resolve().parent, depth=1):
        if path.name == run.name:
            continue
        try:
            other = read_run(path, history=False)
        except (OSError, SupernetError):
            continue
        if other.stage == "retrain" and other.finished and _recipe(other) == _recipe(run):
            others.append(other)
    if not others:
        return None
    selects = str(run.result.get("selects", "top1"))
    everyone = [run, *others[:MOST]]
    metric = next(
        (name for part in ("test", "val") if all(_value(r, name := f"{part}/{selects}") is not None for r in everyone)),
        f"val/{selects}",
    )
    rows = [
        {
            "name": one.name,
            "this": one is run,
            "genotype": (one.result or {}).get("genotype"),
            "seed": one.config.get("seed"),
            "value": _value(one, metric),
            "parameters": (one.result or {}).get("parameters"),
        }
        for one in everyone
    ]
    sign = 1 if selects in LESS_IS_BETTER else -1
    rows.sort(key=lambda row: sign * (number(row["value"]) or 0.0))
    own, rest = _value(run, metric), [v for r in others[:MOST] if (v := _value(r, metric)) is not None]
    lead = own - median(rest) if own is not None and rest else None
    return Beside(metric, rows, lead, len({str(row["seed"]) for row in rows}) == 1)


def _recipe(run: RunRecord) -> Mapping[str, object]:
    return {key: value for key, value in run.identity.items() if key not in (*OF_ONE, "seed")}


def _value(run: RunRecord, name: str) -> float | None:
    return number(run.metrics.get(name))
