"""The three kinds of named decision that every search space is a tree of.

    one_of(options)   take one option; it opens the decisions that hang below it
    k_of(n, k)        take k different items of n; each one taken opens its own decisions
    integer(range)    take a whole number

A decision's path is its parent's path, the option that opened it and its own name, joined by "/":
``normal/node3/inputs`` opens ``normal/node3/inputs/0/op``. No torch here.

Decisions that stand in branches which exclude each other may be one in the relaxed view: those of the second block of a
stage, say, whether the stage has two blocks or three. They name the same `group`. A decision's `mark` says who decides:

    trainable     has alphas, which a gradient method learns
    searchable    in the tree, so that it is sampled and mutated; without alphas: relaxed networks take its default
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal, get_args

from ..errors import SupernetError, unknown

__all__ = ["MARKS", "Decision", "Integer", "KOf", "Mark", "OneOf", "Value", "elementary", "walk"]

Value = str | int | tuple[str, ...]  # what is decided: an option's name, a number, the names of the items taken
Mark = Literal["trainable", "searchable"]
MARKS: tuple[Mark, ...] = get_args(Mark)


@dataclass(frozen=True)
class Decision:
    """A named decision; `options` maps each option (or item) to the decisions it opens.

    `group` names its row of the relaxed view ("": its own path does), `default` the option that a network takes where
    nothing decides ("": the first).
    """

    name: str
    options: Mapping[str, tuple["Decision", ...]] = field(default_factory=dict)
    group: str = field(default="", kw_only=True)
    mark: Mark = field(default="trainable", kw_only=True)
    default: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not self.name or not self.options:
            raise SupernetError(f"decision {self.name!r} needs a name and at least one option")
        if any(not isinstance(option, str) or not option or "/" in option for option in self.options):
            shown = str(list(self.options))[:200]
            raise SupernetError(f"decision {self.name!r}: option names {shown} must not be empty or hold '/'")
        if self.mark not in MARKS:
            raise SupernetError(unknown(f"mark of decision {self.name!r}:", self.mark, MARKS))
        if self.default and self.default not in self.options:
            raise SupernetError(unknown(f"default of decision {self.name!r}:", self.default, self.options))

    @cached_property
    def points(self) -> int:
        """The number of ways to decide it and all that it opens."""
        return sum(self._each())

    def _each(self) -> list[int]:
        """The number of points below each option."""
        return [prod(decision.points for decision in below) for below in self.options.values()]

    def taken(self, value: Value) -> tuple[str, ...]:
        """The options that `value` opens; raises SupernetError where it is no value of this decision."""
        raise NotImplementedError

    def _refuse(self, path: str, value: object, allowed: str) -> SupernetError:
        shown = repr(value)
        return SupernetError(f"decision {path!r} = {shown[:80]} is not allowed; allowed: {allowed[:200]}")


@dataclass(frozen=True)
class OneOf(Decision):
    """Exactly one of the options."""

    def taken(self, value: Value) -> tuple[str, ...]:
        if not isinstance(value, str) or value not in self.options:
            raise self._refuse(self.name, value, f"one of {list(self.options)}")
        return (value,)


@dataclass(frozen=True)
class KOf(Decision):
    """`k` different items; a value lists them in the order of `options`."""

    k: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= len(self.options):
            raise SupernetError(f"decision {self.name!r}: k={self.k} must lie in 1..{len(self.options)}")

    @cached_property
    def points(self) -> int:
        """e_k of the numbers of points below the items."""
        return elementary(self._each(), self.k)[0]

    def taken(self, value: Value) -> tuple[str, ...]:
        names = list(self.options)
        if not isinstance(value, tuple) or not all(isinstance(v, str) and v in self.options for v in value):
            raise self._refuse(self.name, value, f"{self.k} different of {names}")
        if len(value) != self.k or list(value) != sorted(set(value), key=names.index):
            raise self._refuse(self.name, value, f"{self.k} different of {names}, in this order")
        return value


@dataclass(frozen=True)
class Integer(Decision):
    """A whole number of range(low, high + 1, step); `opens` has the decisions below some of its values."""

    low: int = 0
    high: int = 0
    step: int = 1

    def __init__(
        self,
        name: str,
        low: int,
        high: int,
        step: int = 1,
        *,
        opens: Mapping[str, tuple[Decision, ...]] | None = None,
        group: str = "",
        mark: Mark = "trainable",
        default: str = "",
    ) -> None:
        if step < 1 or high < low:
            raise SupernetError(f"integer {name!r} from {low} to {high} by {step}: needs low <= high and step >= 1")
        if (high - low) // step >= 1_000_000:  # every value is an option: a hostile range must not fill the memory
            raise SupernetError(f"integer {name!r} from {low} to {high} by {step} has over a million values")
        below = opens or {}
        values = {
            "low": low,
            "high": high,
            "step": step,
            "name": name,
            "group": group,
            "mark": mark,
            "default": default,
        }
        values["options"] = {str(v): tuple(below.get(str(v), ())) for v in range(low, high + 1, step)}
        for key, value in values.items():
            object.__setattr__(self, key, value)
        super().__post_init__()

    def taken(self, value: Value) -> tuple[str, ...]:
        if isinstance(value, bool) or not isinstance(value, int) or str(value) not in self.options:
            raise self._refuse(self.name, value, f"{self.low}..{self.high} by {self.step}")
        return (str(value),)


def walk(decisions: Sequence[Decision], prefix: str = "") -> Iterator[tuple[str, Decision]]:
    """Every decision of the tree with its path, parents before children, in the order of the flat vector."""
    for decision in decisions:
        path = prefix + decision.name
        yield path, decision
        for option, below in decision.options.items():
            yield from walk(below, f"{path}/{option}/")


def elementary(weights: Sequence[int], k: int) -> list[int]:
    """e_k of every tail of `weights`: entry i is e_k(weights[i:])."""
    row = [1] * (len(weights) + 1)
    for _ in range(k):
        longer = [0] * (len(weights) + 1)
        for i in reversed(range(len(weights))):
            longer[i] = longer[i + 1] + weights[i] * row[i + 1]
        row = longer
    return row
