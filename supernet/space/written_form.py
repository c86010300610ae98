"""The door between `Space` and its written form: `Space.from_yaml` and `to_yaml` ask here, `form/` registers here.

The written form is made of spaces, so a space cannot import it. It is loaded when it is first asked for.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..registry import Registry

if TYPE_CHECKING:
    from .space import Space

__all__ = ["WRITTEN_FORMS", "WrittenForm"]


class WrittenForm(NamedTuple):
    """The functions of one written form; `allow` has the prefixes of import paths that a document may name."""

    read: "Callable[[str, Sequence[str]], Space]"  # (text, allow)
    load: "Callable[[str | Path, Sequence[str]], Space]"  # (path, allow)
    write: "Callable[[Space], str]"


WRITTEN_FORMS: Registry[WrittenForm] = Registry("written form of a space")
WRITTEN_FORMS.lazy("yaml", f"{__package__}.form")
