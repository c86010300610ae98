"""The one family of errors that a user's mistake raises.

Every message says what was given, what is allowed, the nearest name and the way out, in one line; the command line
prints it without a traceback and exits with code 2.
"""

import difflib
from collections.abc import Iterable, Mapping

__all__ = [
    "ClosedSplitError", "GenotypeError", "MemoryShortError", "NumbersError", "StoppedError", "SupernetError", "nearest",
    "short", "unknown",
]  # fmt: skip


class SupernetError(ValueError):
    """A mistake in what was given to the toolkit: a name, a value, a file."""


class GenotypeError(SupernetError):
    """A genotype that is malformed, or that is no point of the space it names."""


class ClosedSplitError(SupernetError):
    """The test split was read outside the final evaluation."""


class StoppedError(SupernetError):
    """A run that began well and cannot go on; the command line exits with code 1."""


class NumbersError(StoppedError):
    """Losses, gradients or the state are no longer finite; `report` says where, in plain values."""

    def __init__(self, message: str, report: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.report = dict(report or {})


class MemoryShortError(StoppedError):
    """The device or the machine has no more memory."""


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that looks most like `name`, or None where none does; never `name` itself.

    One that goes on from four letters or more of it comes first: `darts_first` is the beginning of `darts_first_order`.
    """
    names = {str(a).lower(): str(a) for a in allowed if str(a) != str(name)}
    longer = [other for other in names if other.startswith(str(name).lower())] if len(str(name)) >= 4 else []
    if longer:
        return names[min(longer, key=len)]
    close = difflib.get_close_matches(str(name).lower(), list(names), n=1, cutoff=0.5)
    return names[close[0]] if close else None


def unknown(what: str, name: object, allowed: Iterable[str], most: int = 12) -> str:
    """One line for an unknown name: ``unknown operation 'sep_con_3x3'; did you mean 'sep_conv_3x3'? Allowed: ...``."""
    names = sorted(str(a) for a in allowed)
    close = nearest(str(name), names)
    hint = f"; did you mean {close!r}?" if close else ";"
    shown = ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
    return f"unknown {what} {short(repr(name))}{hint} Allowed: {shown or 'none'}"


def printable(text: str) -> str:
    """`text` with control characters written out, as \\x1b: a name must not steer a terminal or break a line."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def short(text: str, most: int = 60) -> str:
    """`text` in at most `most` characters; three dots stand for what was cut off its end."""
    return text if len(text) <= most else text[: most - 3] + "..."
