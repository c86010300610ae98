"""What a run's folder is called: `<space>-<method>-<data>-s<seed>-<8 hex>`, unless it was given a name."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import DataConfig, RunConfig
from ..errors import SupernetError

if TYPE_CHECKING:
    from .identity import RunSettings

__all__ = ["PAGE", "data_label", "run_path"]

PAGE = "report.html"  # in a run folder: the page about it

BY_ROOT = ("folder", "image_folder", "imagefolder")  # names of data that say nothing without their root


def run_path(config: "RunSettings", prefix: str, digest: str) -> Path:
    """Where the run of these settings lies; `digest` is that of its identity.

    Raises SupernetError where run.name is no name of a folder below run.root.
    """
    return Path(config.run.root).expanduser() / (_given_name(config.run) or f"{prefix}-{digest}")


def data_label(data: DataConfig) -> str:
    """The name of a data set without where it lies: `digits`, `torch/cifar10`, `folder:flowers` for `/data/flowers`."""
    name = str(data.name)
    if name in BY_ROOT and data.root:
        return f"folder:{_last_name(data.root)}"
    if name == "csv" and data.labels:
        return f"csv:{_last_name(data.root or '')}:{_last_name(data.labels)}"
    if name == "text" and data.root:  # without a root it is the embedded text
        return f"text:{_last_name(data.root)}"
    if os.path.isabs(name) or name.startswith((".", "~")):
        return f"folder:{_last_name(name)}"
    return name


def _given_name(run: RunConfig) -> str | None:
    name = run.name
    if name is not None and (not name or os.path.isabs(name) or ".." in Path(name).parts or not Path(name).parts):
        raise SupernetError(f"run.name={name!r} must be the name of a folder below run.root={run.root!r}")
    return name


def _last_name(path: str) -> str:
    return os.path.basename(os.path.abspath(os.path.expanduser(path)))
