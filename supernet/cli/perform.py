"""What a stage does once its configuration is known, and what it prints at the end.

A finished run is found before torch is loaded: it prints its result and is done.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import SupernetError
from ..presets import preset_names
from ..space import get_space
from ..space.reference import find_genotype, kept_space
from ..train.config import ExportConfig, RetrainConfig, SearchConfig
from ..train.run import RunFolder
from ..train.spaces import label_of

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
    if stage == "search":
        rows["next"] = f"supernet retrain {override('genotype', run.path)}{_network_of(run)}{_data_of(run)}"
    elif "task" not in result["data"] and kept_space(run.path) is None:  # images, and timm can build the network
        rows["next"] = f"supernet export {override('run', run.path)}"
    else:
        code = f"from supernet.exporting import trained_network as load; model = load({json.dumps(str(run.path))})"
        rows["next"] = f"python -c {shlex.quote(code)}"
    _table(rows)


def _network_of(run: RunFolder) -> str:
    """The parts `network=...` and `recipe=...` that a space needs where the defaults of retraining are another's."""
    space = run.config["config"]["space"]["name"]
    if run.config["config"]["space"].get("file"):
        return ""
    return "".join(f" {part}={space}" for part in ("network", "recipe") if space in preset_names(part))


def _data_of(run: RunFolder) -> str:
    """The data of a network that reads no images: the default of retraining would not do."""
    data = run.config["config"]["data"]
    if data["name"] != "text":
        return ""
    return " data=text" + (f" {override('data.root', data['root'])}" if data["root"] else "")


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


def override(key: str, value: str | os.PathLike[str]) -> str:
    """`key=value` as a shell hands it to Hydra unchanged: quoted where either of them would read marks in it."""
    text = os.fspath(value)
    if re.fullmatch(r"[A-Za-z0-9_./-]+", text):
        return f"{key}={text}"
    inner = text.replace('"', '\\"')
    return shlex.quote(f'{key}="{inner}"')
