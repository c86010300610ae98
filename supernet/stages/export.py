"""The stage `export`: a finished retraining as a folder that timm opens."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import SupernetError
from .export_config import ExportConfig
from .stage import Stage

if TYPE_CHECKING:
    from .run_export import Exported

__all__ = ["STAGE", "ExportConfig"]


def run(config: ExportConfig) -> "Exported":
    from .run_export import run_export

    return run_export(config)


def check(config: ExportConfig) -> None:
    if not config.run:
        raise SupernetError("run is not set; give run=RUNFOLDER, the folder of a finished supernet retrain")


def rows(exported: "Exported") -> Mapping[str, str]:
    difference = f"in a fresh process; largest difference of its outputs {exported.difference:.1e}"
    return {"model folder": str(exported.folder), "reopened": difference}


def following(exported: "Exported") -> str:
    """What opens the folder again."""
    opened = f"timm.create_model({json.dumps(f'local-dir:{exported.folder}')}, pretrained=True)"
    return f"python -c 'import timm, supernet.timm_models; model = {opened}'"


STAGE = Stage(
    name="export",
    help="write a retrained network as a folder that timm opens",
    example="supernet export run=runs/RUN",
    config=ExportConfig,
    run=run,
    check=check,
    rows=rows,
    next=following,
)
