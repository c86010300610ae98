"""A point of a decision tree as a flat vector of whole numbers, and back.

Every decision of the tree has its places, open or not: a one_of the index of its option, a k_of a 0 or 1 for each item,
an integer the index of its value. Places of closed decisions hold -1, so the length is the same for all points.
"""

from collections.abc import Mapping, Sequence

from ..errors import SupernetError
from .decision import Decision, Integer, KOf, Value, walk

__all__ = ["decode", "encode"]


def encode(decisions: Sequence[Decision], point: Mapping[str, Value]) -> list[int]:
    """The flat vector of a valid `point`."""
    vector: list[int] = []
    for path, decision in walk(decisions):
        names = list(decision.options)
        if isinstance(decision, KOf):
            value = point.get(path)
            vector += [-1] * len(names) if value is None else [int(n in decision.taken(value)) for n in names]
        else:
            vector.append(names.index(str(point[path])) if path in point else -1)
    return vector


def decode(decisions: Sequence[Decision], vector: Sequence[int]) -> dict[str, Value]:
    """The point of a flat `vector`; raises SupernetError where it is not the encoding of a point."""
    if any(isinstance(v, bool) or not isinstance(v, int) for v in vector):
        raise SupernetError("an encoded point is a sequence of whole numbers")
    numbers = list(vector)
    point, used = _decode(decisions, numbers, 0, "", True)
    if used != len(numbers):
        raise SupernetError(f"an encoded point of this space has {used} numbers, not {len(numbers)}")
    return point


def _decode(
    decisions: Sequence[Decision], vector: list[int], at: int, prefix: str, is_open: bool
) -> tuple[dict[str, Value], int]:
    point: dict[str, Value] = {}
    for decision in decisions:
        path, names = prefix + decision.name, list(decision.options)
        width = len(names) if isinstance(decision, KOf) else 1
        places = vector[at : at + width]
        if len(places) < width:
            raise SupernetError(f"an encoded point ends before decision {path!r}")
        at += width
        taken: tuple[str, ...] = ()
        if is_open:
            point[path] = value = _read(decision, names, places, path)
            taken = decision.taken(value)
        elif any(place != -1 for place in places):
            raise SupernetError(f"decision {path!r} is closed, so its places must hold -1, not {places}")
        for option, below in decision.options.items():
            deeper, at = _decode(below, vector, at, f"{path}/{option}/", option in taken)
            point |= deeper
    return point, at


def _read(decision: Decision, names: list[str], places: list[int], path: str) -> Value:
    if isinstance(decision, KOf):
        if any(place not in (0, 1) for place in places) or sum(places) != decision.k:
            raise SupernetError(f"decision {path!r}: {places} must hold {decision.k} ones among zeros")
        return tuple(name for name, place in zip(names, places, strict=True) if place)
    if not 0 <= places[0] < len(names):
        raise SupernetError(f"decision {path!r}: {places[0]} must lie in 0..{len(names) - 1}")
    return int(names[places[0]]) if isinstance(decision, Integer) else names[places[0]]
