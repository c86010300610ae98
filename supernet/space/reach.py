"""How likely the decisions of a tree are open when its mixing weights are read as probabilities.

    reach(root decision) = 1
    reach(decision below option i of a parent) = reach(parent) * p_i(parent)

so a nested option has the product of the weights along its path. Branches that share a group exclude each other, and
their probabilities add. Entropies and costs are weighted by it. Plain arithmetic: floats or tensors, no torch here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from .decision import Decision
from .space import Space

__all__ = ["reach"]


def reach(space: Space, p: Mapping[str, Any]) -> dict[str, Any]:
    """Group -> the probability that one of its decisions is open, in the type of the weights.

    `p` has for each table its rows [E][O] of mixing weights; searchable decisions that it lacks take their default.
    Tables that are no decision of the tree, such as those of cells, are always open: 1.
    """
    weights = {name: p[name][0] for name in space.groups if name in p}
    for name, default in space.searchable.items():
        weights.setdefault(name, [float(one) for one in default])
    found: dict[str, Any] = {}
    if weights:
        _descend(space.root, weights, "", 1.0, found)
    return {table.name: 1.0 for table in space.tables} | found


def _descend(
    decisions: Sequence[Decision], weights: Mapping[str, Any], prefix: str, probability: Any, found: dict[str, Any]
) -> None:
    for decision in decisions:
        path = prefix + decision.name
        group = decision.group or path
        found[group] = found[group] + probability if group in found else probability
        for weight, (option, below) in zip(weights[group], decision.options.items(), strict=True):
            if below:
                _descend(below, weights, f"{path}/{option}/", probability * weight, found)
