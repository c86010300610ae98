"""What a measurement is taken with: versions, processor, threads, GPU; and a GPU that is waited for."""

import re
from typing import Any

import torch

from supernet.version import versions

__all__ = ["hardware", "synchronise"]


def hardware(device: str) -> dict[str, Any]:
    """Versions and hardware as plain values, ready for JSON; `gpu` is None for a measurement on the processor.

    `name` is short enough for files: `nvidia-h200`, or the processor with its threads as in `amd-epyc-2-threads`.
    """
    facts = versions()
    gpu = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return facts | {"gpu": gpu, "name": _short(gpu or f"{facts['processor']} {facts['threads']} threads")}


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what was asked of it; without this a timing measures the asking."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _short(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)", "", name.lower())).strip("-")
