"""Measured seconds on disk: one JSON file for each device, number of threads of the processor and version of torch.

The folder is the argument `folder`, else the variable SUPERNET_CACHE with /latency, else ~/.cache/supernet/latency. A
file is replaced in one step, so a reader never sees half of one; what cannot be read is measured again, with a warning.
"""

import json
import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from ..files import write_json
from ..processor import processor
from .clock import Conditions

__all__ = ["Cache", "default_folder", "hardware"]

log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where measurements are kept unless a folder is named."""
    own = os.environ.get("SUPERNET_CACHE")
    return (Path(own).expanduser() if own else Path.home() / ".cache" / "supernet") / "latency"


def hardware(where: Conditions) -> dict[str, str | int]:
    """What the seconds were taken on."""
    device = torch.device(where.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return {"device": name, "threads": where.threads, "torch": str(torch.__version__)}


class Cache:
    """Seconds by the key of what was timed: the part and its inputs, the type and the layout of tensors."""

    def __init__(self, folder: str | os.PathLike[str] | None, where: Conditions) -> None:
        self.hardware = hardware(where)
        name = re.sub(r"[^a-z0-9.]+", "-", " ".join(map(str, self.hardware.values())).lower()).strip("-")
        self.path = (default_folder() if folder is None else Path(folder).expanduser()) / f"{name}.json"

    def read(self) -> dict[str, float]:
        """What is there; nothing, after a warning, where the file is damaged."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            seconds = content["seconds"]
            if content["hardware"] != self.hardware or not all(_is_time(value) for value in seconds.values()):
                raise ValueError("other hardware, or values that are no times")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("latencies in %s cannot be read and are measured again (%s)", self.path, str(error)[:80])
            return {}
        return dict(seconds)

    def add(self, seconds: Mapping[str, float]) -> None:
        """Adds to the file; a folder that cannot be written costs a warning."""
        both = {"hardware": self.hardware, "seconds": self.read() | dict(seconds)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, both)
        except OSError as error:
            log.warning("latencies were not kept in %s (%s)", self.path, error.strerror)


def _is_time(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value) and value > 0
