"""The signs of a search that collapses, epoch by epoch, read from a run's metrics.jsonl.

genotype_skips   share of skip connections among the operations of the genotype, 0..1
mixing_skips     mean mixing weight of skip connections over the rows that offer them, 0..1
entropy          mean entropy of a row of mixing weights, in nats
eigenvalue       largest eigenvalue of the validation loss' Hessian in the alphas, in epochs where a part measures it
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

from ..runs.log import read_metrics

__all__ = ["SIGNATURES", "signatures"]

SIGNATURES = ("genotype_skips", "mixing_skips", "entropy", "eigenvalue")

_ENTRIES = {"genotype_skips": "genotype/skip_share", "entropy": "alpha/mean_entropy"}


def signatures(run: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """(epoch, counted from 1; the signatures that were logged) of each ended epoch of the run folder `run`."""
    path = run / "metrics.jsonl"
    for row in read_metrics(path, time=False) if path.is_file() else ():
        if any(name.startswith("epoch/") for name in row) and isinstance(row.get("epoch"), int):
            yield row["epoch"] + 1, _of(row)


def _of(row: Mapping[str, object]) -> dict[str, float]:
    numbers = {name: float(value) for name, value in row.items() if isinstance(value, int | float)}
    values = {name: numbers[entry] for name, entry in _ENTRIES.items() if entry in numbers}
    if shares := [value for name, value in numbers.items() if name.startswith("alpha/skip_share/")]:
        values["mixing_skips"] = fmean(shares)
    if bent := [value for name, value in numbers.items() if name.rpartition("/")[2] == "eigenvalue"]:
        values["eigenvalue"] = bent[0]
    return values
