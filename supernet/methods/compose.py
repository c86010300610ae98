"""From the names in a configuration to the parts of a method.

relaxation: softmax                        a name
sampler: {name: gumbel, tau: 10}           a name with arguments, checked against the part's own
connectors: [edge_normalisation, ...]      a group that takes several
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from ..arguments import check_arguments
from ..config import MethodConfig
from ..errors import SupernetError
from .part import Part
from .parts import GROUPS
from .refusals import check_pairs

__all__ = ["SEVERAL", "Named", "compose", "make_part"]

Named: TypeAlias = str | Mapping[str, object]
ONE = ("relaxation", "hypergradient", "alpha_optimiser", "selector")
SEVERAL = ("connectors", "regularisers", "filters", "after_update", "watchers")  # groups that take a list


def make_part(group: str, named: Named) -> Part:
    """The part of `group` that a configuration names; raises SupernetError for a name or an argument unknown there."""
    name, arguments = _split(group, named)
    part = GROUPS[group][name]
    check_arguments(part, arguments, f"method.{group}={name}")
    return part(**arguments)


def compose(config: MethodConfig) -> dict[str, list[tuple[str, Part]]]:
    """(name, part) of every group; raises SupernetError for what is unknown and for pairs that are refused."""
    parts: dict[str, list[tuple[str, Part]]] = {}
    for group in GROUPS:
        value = getattr(config, group)
        if value is None and group in ONE:
            raise SupernetError(f"method.{group}=null: every method has one, such as {next(iter(GROUPS[group]))}")
        if group in SEVERAL:
            members: Sequence[Named] = [value] if isinstance(value, str | Mapping) else list(value)
        else:
            members = [] if value is None else [value]
        parts[group] = [(_split(group, named)[0], make_part(group, named)) for named in members]
    check_pairs(parts)
    return parts


def _split(group: str, named: Named) -> tuple[str, dict[str, object]]:
    """(name, arguments)"""
    if isinstance(named, str):
        return named, {}
    if not isinstance(named, Mapping) or not isinstance(named.get("name"), str):
        raise SupernetError(
            f"method.{group}={str(named)[:80]} must be the name of a part, or {{name: NAME, ARGUMENT: VALUE}}"
        )
    return str(named["name"]), {key: value for key, value in named.items() if key != "name"}
