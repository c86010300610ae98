"""Records that may come from others hold what they should: their keys with the right types, or one line says not."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import TypeAlias

from ..errors import SupernetError, short

__all__ = ["CONFIG", "RESULT", "RETRAINED", "Shape", "as_written", "require_shape"]

Types: TypeAlias = "type | tuple[type, ...]"
Shape: TypeAlias = Mapping[str, Types]  # a name that ends in ? may be absent

NUMBER = (int, float)
CONFIG: Shape = {"stage": str, "hash?": str, "identity": dict, "config": dict, "now?": str, "changes?": list}
RESULT: Shape = {
    "metrics": dict, "seconds": NUMBER, "genotype": str, "best?": (dict, NoneType), "parameters?": int, "selects?": str,
}  # fmt: skip
RETRAINED: Shape = {**RESULT, "arguments": dict, "data": dict}
_RAW = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def require_shape(value: Mapping[str, object], shape: Shape, where: Path) -> None:
    """Raises SupernetError, which names the file `where`, unless `value` has the keys of `shape` with their types."""
    for key, types in shape.items():
        name = key.removesuffix("?")
        if name not in value and key != name:
            continue
        entry = value.get(name)
        if not isinstance(entry, types) or (isinstance(entry, bool) and types is not bool):
            wanted = [kind.__name__ for kind in (types if isinstance(types, tuple) else (types,))]
            there = f"{name!r} is {short(repr(entry))}" if name in value else f"{name!r} is missing"
            raise SupernetError(f"{where} is damaged: {there}, it must be of type {' or '.join(wanted)}")


@contextmanager
def as_written(where: Path, what: str) -> Iterator[None]:
    """Inside, `where` is read: what its content raises becomes a SupernetError that says `what` it should be.

    A want of memory is no fault of the content, and passes.
    """
    try:
        yield
    except SupernetError:
        raise
    except _RAW as error:
        if "memory" in str(error) or "Memory" in type(error).__name__:
            raise
        reason = short(" ".join(str(error).split()) or type(error).__name__, 160)
        raise SupernetError(f"{where} does not hold {what} ({type(error).__name__}: {reason})") from error
