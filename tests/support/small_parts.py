"""Presets at the size of a test: the same parts, with fewer samples, permutations, epochs and cells."""

from collections.abc import Mapping
from typing import Any

__all__ = ["small"]

ARGUMENTS: dict[str, dict[str, Any]] = {
    "adaptation": {"every": 1, "window": 1, "apart": 1, "first": 0, "ratio": 1e-6, "most": 9e-4},
    "best_path": {"samples": 4, "batches": 1, "finalists": 2},
    "eigenvalue": {"every": 1, "window": 1, "apart": 1, "first": 0, "ratio": 1e6},
    "fisher": {"first": 0, "every": 1, "cuts": 2, "batches": 1},
    "gradient_agreement": {"batches": 1},
    "layer_alignment": {"without": []},  # a tiny network has one normal cell
    "gradient_matching": {"at": 0.3, "splits": 1, "batches": 1},
    "greedy_edges": {"first": 0, "every": 1},
    "p_darts": {"layers": [3, 4, 3], "keep": [5, 4, 3]},
    "progressive": {"partial": [2, 1], "keep": [3]},
    "rank_sum": {"repeats": 1, "batch": 3, "inputs": 4},
    "removal": {"every": 1},
    "shapley": {"permutations": 1, "first": 1},
    "then_select": {"epochs": 2},
}


def small(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` of a preset with the arguments of dear parts replaced, and at most one epoch of warm-up."""
    method = {group: value if group == "name" else _small(value) for group, value in settings["method"].items()}
    method["warmup_epochs"] = min(method.get("warmup_epochs", 0), 1)
    return {**settings, "method": method}


def _small(value: Any) -> Any:
    if isinstance(value, list):
        return [_small(part) for part in value]
    name = value.get("name") if isinstance(value, Mapping) else value
    more = ARGUMENTS.get(name, {}) if isinstance(name, str) else {}
    if not more:
        return value
    arguments = value if isinstance(value, Mapping) else {"name": name}
    return {**arguments, **{key: number for key, number in more.items() if key != "epochs" or arguments.get("epochs")}}
