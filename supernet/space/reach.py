"""How likely the decisions of a tree are open when its mixing weights are read as probabilities.

    reach(root decision) = 1
    reach(decision below option i of a parent) = reach(parent) * p_i(parent)

so a nested option has the product of the weights along its path. Branches that share a group exclude each other, and
their probabilities add. Entropies and costs are weighted by it. Plain arithmetic: floats or tensors, no torch here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from .decision import Decision
from .space import Space

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["reach"]


Probability: TypeAlias = "float | Tensor"
Row: TypeAlias = "Sequence[float] | Tensor"


def reach(space: Space, p: "Mapping[str, Sequence[Row] | Tensor]") -> dict[str, Probability]:
    """Group -> the probability that one of its decisions is open: a float, or a scalar tensor where the weights are.

    `p` has for each table its rows [E, O] of mixing weights; searchable decisions that it lacks take their default.
    Tables that are no decision of the tree, such as those of cells, are always open: 1.
    """
    weights: dict[str, Row] = {name: p[name][0] for name in space.groups if name in p}
    for name, default in space.searchable.items():
        weights.setdefault(name, [float(one) for one in default])
    reached: dict[str, Probability] = {}
    if weights:
        _descend(space.root, weights, "", 1.0, reached)
    return {table.name: 1.0 for table in space.tables} | reached


def _descend(
    decisions: Sequence[Decision],
    weights: Mapping[str, Row],
    prefix: str,
    probability: Probability,
    reached: dict[str, Probability],
) -> None:
    """Adds to `reached` what these decisions and those below them are open with."""
    for decision in decisions:
        path = prefix + decision.name
        group = decision.group or path
        reached[group] = reached[group] + probability if group in reached else probability
        for weight, (option, below) in zip(weights[group], decision.options.items(), strict=True):
            if below:
                _descend(below, weights, f"{path}/{option}/", probability * weight, reached)
