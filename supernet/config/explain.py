"""What each setting is for, read from where it is defined: the comment behind a field, or the lines above it.

    pad: int | None = None  # pixels of zero padding before the random crop

So the text has one source, which the help of a stage, the page of all settings and whoever reads the code share.
"""

import dataclasses
import inspect
import io
import tokenize
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from typing import TYPE_CHECKING, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Explained", "explained"]

_PLAIN = {"None": "null", "True": "true", "False": "false", "": '""'}  # as YAML has them


@dataclass(frozen=True)
class Explained:
    """One setting by its dotted name, with its default as plain text and what it is for."""

    name: str
    default: str
    text: str


def explained(config: "type[DataclassInstance]", prefix: str = "") -> Iterator[Explained]:
    """The settings of a dataclass in their order, those of groups below their group's name."""
    comments = _comments(config)
    kinds = get_type_hints(config)
    for field in dataclasses.fields(config):
        name, kind = f"{prefix}{field.name}", kinds[field.name]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from explained(kind, f"{name}.")
        else:
            yield Explained(name, _default(field), comments.get(field.name, ""))


def _default(field: "dataclasses.Field[object]") -> str:
    value = field.default_factory() if field.default_factory is not MISSING else field.default
    return _PLAIN.get(str(value), str(value))


def _comments(config: type) -> dict[str, str]:
    """Field -> its comment, those of the classes that it builds upon included."""
    texts: dict[str, str] = {}
    for kind in reversed(config.__mro__):
        if dataclasses.is_dataclass(kind):
            texts |= _of_class(inspect.getsource(kind))
    return texts


def _of_class(source: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    above: list[str] = []  # comment lines since the last statement
    name = ""  # the field that the present statement defines
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        starts = before is None or before.type in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)
        if token.type == tokenize.COMMENT and not name:
            above.append(token.string.lstrip("# "))
        elif token.type == tokenize.COMMENT:
            texts[name] = " ".join(filter(None, [texts.get(name, ""), token.string.lstrip("# ")]))
        elif token.type == tokenize.NAME and starts and after is not None and after.string == ":":
            name = token.string
            if above:
                texts[name] = " ".join(above)
            above = []
        elif token.type == tokenize.NEWLINE:
            name, above = "", []
    return texts
