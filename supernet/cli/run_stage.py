"""What a stage does once its configuration is known, and what it prints at the end.

A finished run is found before torch is loaded: it prints its result and is done.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..config import ExportConfig, RetrainConfig, SearchConfig
from ..errors import SupernetError
from ..runs.folder import RunFolder
from ..space import get_space
from ..space.lookup import find_genotype
from ..train.space_config import label_of
from .next_command import following

__all__ = ["perform", "prepare"]

SHOWN = ("val/", "test/", "genotype/skip_share")  # metrics of a result that are printed


def prepare(stage: str, config: Any) -> None:
    """Raises SupernetError for what can be known to be wrong without torch: the space, the genotype, the run folder."""
    _LABEL[stage](config)
    if stage != "export":
        _finished(stage, config)


def perform(stage: str, config: Any) -> float | None:
    """Run the stage or find it finished, print its result, and return what a sweep may optimise.

    That is the task's metric on the validation part, never on the test split.
    """
    if stage == "export":
        _export(config)
        return None
    run = _finished(stage, config)
    if run is None:
        run = RunFolder(_run(stage, config))
    result = run.result
    if os.environ.get("RANK", "0") == "0":  # under torchrun every rank comes here, and one tells
        _print(stage, run, result)
    metrics = {**(result.get("best") or {}), **result["metrics"]} if stage == "retrain" else result["metrics"]
    value = metrics.get(f"val/{result.get('selects', 'top1')}")  # the default serves runs of earlier versions
    return None if value is None else float(value)


def _run(stage: str, config: Any) -> Path:
    from ..train.stages import run_retrain, run_search

    folder = (run_search(config) if stage == "search" else run_retrain(config)).folder
    if folder is None:
        raise RuntimeError(f"stage {stage} ended without a run folder")
    return folder


def _finished(stage: str, config: Any) -> RunFolder | None:
    return RunFolder.find_finished(config, stage, _LABEL[stage](config))


def _label_of_search(config: SearchConfig) -> str | None:
    if config.space.file is None:
        get_space(config.space.name, **config.space.args)
    return label_of(config.space)


def _label_of_retrain(config: RetrainConfig) -> str:
    if not config.genotype:
        raise SupernetError(
            "genotype is not set; give genotype=RUNFOLDER of a search, a genotype.json or a published name"
        )
    return find_genotype(config.genotype)[1]


def _label_of_export(config: ExportConfig) -> None:
    if not config.run:
        raise SupernetError("run is not set; give run=RUNFOLDER, the folder of a finished supernet retrain")


_LABEL: dict[str, Callable[[Any], str | None]] = {
    "search": _label_of_search,
    "retrain": _label_of_retrain,
    "export": _label_of_export,
}


def _print(stage: str, run: RunFolder, result: Mapping[str, Any]) -> None:
    rows = {"run folder": str(run.path)}
    for name, value in result["metrics"].items():
        if name.startswith(SHOWN) and isinstance(value, (int, float)):
            rows[name] = f"{value:.4f}"
    if "parameters" in result:
        rows["parameters"] = f"{result['parameters']:,}"
    rows["seconds"] = f"{result['seconds']:.1f}"
    rows["genotype"] = f"{run.genotype_path}  ({result['genotype']})"
    rows["next"] = following(stage, run)
    _table(rows)


def _export(config: ExportConfig) -> None:
    from ..exporting import run_export

    exported = run_export(config)
    opened = f"timm.create_model({json.dumps(f'local-dir:{exported.folder}')}, pretrained=True)"
    _table(
        {
            "model folder": str(exported.folder),
            "reopened": f"in a fresh process; largest difference of its outputs {exported.difference:.1e}",
            "next": f"python -c 'import timm, supernet.timm_models; model = {opened}'",
        }
    )


def _table(rows: Mapping[str, str]) -> None:
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        print(f"{name:{width}}{value}")
