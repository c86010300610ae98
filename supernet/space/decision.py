"""The three kinds of named decision that every search space is a tree of.

    one_of(options)   take one option; it opens the decisions that hang below it
    k_of(n, k)        take k different items of n; each one taken opens its own decisions
    integer(range)    take a whole number

A decision's path is its parent's path, the option that opened it and its own name, joined by "/":
``normal/node3/inputs`` opens ``normal/node3/inputs/0/op``. No torch here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import SupernetError

__all__ = ["Decision", "Integer", "KOf", "OneOf", "Value", "walk"]

Value = str | int | tuple[str, ...]  # what is decided: an option's name, a number, the names of the items taken


@dataclass(frozen=True)
class Decision:
    """A named decision; `options` maps each option (or item) to the decisions it opens."""

    name: str
    options: Mapping[str, tuple["Decision", ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not self.options:
            raise SupernetError(f"decision {self.name!r} needs a name and at least one option")
        if any(not isinstance(option, str) or not option or "/" in option for option in self.options):
            shown = str(list(self.options))[:200]
            raise SupernetError(f"decision {self.name!r}: option names {shown} must not be empty or hold '/'")

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

    def taken(self, value: Value) -> tuple[str, ...]:
        names = list(self.options)
        if not isinstance(value, tuple) or not all(isinstance(v, str) and v in self.options for v in value):
            raise self._refuse(self.name, value, f"{self.k} different of {names}")
        if len(value) != self.k or list(value) != sorted(set(value), key=names.index):
            raise self._refuse(self.name, value, f"{self.k} different of {names}, in this order")
        return value


@dataclass(frozen=True)
class Integer(Decision):
    """A whole number of range(low, high + 1, step)."""

    low: int = 0
    high: int = 0
    step: int = 1

    def __init__(self, name: str, low: int, high: int, step: int = 1) -> None:
        if step < 1 or high < low:
            raise SupernetError(f"integer {name!r} from {low} to {high} by {step}: needs low <= high and step >= 1")
        if (high - low) // step >= 1_000_000:  # every value is an option: a hostile range must not fill the memory
            raise SupernetError(f"integer {name!r} from {low} to {high} by {step} has over a million values")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", {str(v): () for v in range(low, high + 1, step)})
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
