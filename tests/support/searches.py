"""Searches of a few steps: their settings, their final state, and a comparison to the bit."""

from pathlib import Path
from typing import Any

import torch

from supernet.config import SearchConfig, from_mapping
from supernet.presets import preset
from supernet.runs.checkpoint import Checkpoints

__all__ = ["SIZES", "SPACES", "STEPS", "TINY", "final_state", "same", "search_config"]

STEPS = 3  # an epoch: 72 samples, about half of them for the weights, batches of 10
TINY: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 10,
    "data": {"limit": 72},
    "checkpoint": {"every_steps": 1},
    "log": {"every": 1, "progress": False, "tensorboard": False},
}
SIZES = {"darts": {"channels": 2, "layers": 3}, "nasbench201": {"channels": 2, "cells_per_stage": 1}}
# One operation of each kind: nothing, the input, fused with weights and norms, fused and dilated, pooling.
OPERATIONS = ["none", "skip_connect", "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3"]
# One node: 2 edges a cell in place of 14.
SPACES: dict[str, Any] = {"darts": {"nodes": 1, "operations": OPERATIONS}, "nasbench201": {}}


def search_config(root: Path, space: str, name: str, **more: Any) -> SearchConfig:
    values = {
        **TINY,
        "space": {"name": space, "args": SPACES[space]},
        "network": SIZES[space],
        **preset("method", name),
        "run": {"root": str(root), "name": "run"},
        **more,
    }
    return from_mapping(SearchConfig, values)


def same(one: Any, other: Any, where: str = "state") -> None:
    """Fails with the path of the first difference; tensors are compared by their bits."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
        assert one.dtype == other.dtype, where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}[{i}]")
    else:
        assert one == other or (one != one and other != other), where


def final_state(root: Path) -> dict[str, Any]:
    found = Checkpoints(root / "run" / "checkpoints").latest()
    assert found is not None
    return {key: value for key, value in found[1].items() if key != "seconds"}
