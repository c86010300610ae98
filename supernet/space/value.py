"""Choices between values, and what is derived from them: `width = Choice([16, 32])`, `hidden = width * 4`.

A value is decided where a layer of `supernet` uses it (Conv2d, Linear, Norm, Repeat ...).
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeAlias, overload

from ..errors import SupernetError
from .arithmetic import Arithmetic, Derived, Operand, Plain, short
from .choice_base import ChoiceMark, Undecided

__all__ = ["Arg", "Derived", "Size", "ValueChoice", "choices_of", "is_values", "rounded", "value_of"]

MOST_VALUES = 1000  # as many options; a hostile range must not fill the memory


class ValueChoice(Undecided):
    """One of several numbers or texts; made by `Choice([16, 32])`, `Choice(range(1, 5))` or `Choice({"small": 16})`.

    A range is an integer decision, everything else a one_of whose options are named by their values.
    """

    def __init__(
        self,
        options: Mapping[str, Plain] | Sequence[Plain] | range,
        *,
        share: str | None = None,
        mark: ChoiceMark = "trainable",
        default: Plain | None = None,
    ) -> None:
        if not 1 <= len(options) <= MOST_VALUES:
            raise SupernetError(f"Choice of {len(options)} values: needs at least one and at most {MOST_VALUES}")
        if isinstance(options, range) and options.step < 0:
            options = options[::-1]
        named = options if isinstance(options, Mapping) else {str(value): value for value in options}
        if len(named) < len(options) or len(set(named.values())) < len(named):
            raise SupernetError(f"Choice of values {list(options)!r:.80}: they must differ")
        for name, value in named.items():
            if not isinstance(name, str) or not name or "/" in name:
                raise SupernetError(f"Choice: the name of value {value!r:.40} must be a non-empty text without '/'")
            if isinstance(value, float) and not isfinite(value):
                raise SupernetError(f"Choice: the value {value} must be finite")
        chosen = None if default is None else str(default)
        super().__init__(list(named), share=share, k=1, mark=mark, default=chosen)
        self.values = tuple(named.values())
        self.range = options if isinstance(options, range) else None

    def extra_repr(self) -> str:
        settings = super().extra_repr()
        return f"{list(self.values)}" + (f", {settings}" if settings else "")


Arg: TypeAlias = Plain | Arithmetic  # an argument that may be undecided; type checkers take Choice([3, 5]) for a Choice
Size: TypeAlias = int | Arithmetic  # a number of channels, features ... that may be undecided


@overload
def rounded(value: int | float, divisor: int = 8) -> int: ...


@overload
def rounded(value: Arithmetic, divisor: int = 8) -> Derived: ...


def rounded(value: Operand, divisor: int = 8) -> int | Derived:
    """`value`, a number or a choice, to the nearest multiple of `divisor` that is not below it by more than a tenth.

    The rule by which MobileNets round their widths (https://arxiv.org/abs/1801.04381, the authors' code).
    """
    if not isinstance(value, int | float | Arithmetic):
        raise SupernetError(f"rounded({value!r:.40}): takes a number or a choice of numbers")
    if isinstance(divisor, bool) or not isinstance(divisor, int) or divisor < 1:
        raise SupernetError(f"rounded(..., {divisor!r:.40}): the divisor must be a whole number of 1 or more")
    return Derived(_rounded, value, divisor) if isinstance(value, Arithmetic) else _rounded(value, divisor)


def _rounded(value: float, divisor: int) -> int:
    near = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return near if near >= 0.9 * value else near + divisor


def is_values(options: object) -> bool:
    """Whether `options` are plain values, so that a Choice of them is one of values; nothing else may be among them."""
    if isinstance(options, range):
        return True
    items = list(options.values()) if isinstance(options, Mapping) else options
    if not isinstance(items, list | tuple) or not items:
        return False
    plain = [isinstance(item, Plain) and not isinstance(item, bool) for item in items]
    if any(plain) and not all(plain):
        raise SupernetError(f"Choice mixes values with other things: {items!r:.80}; give only values or only modules")
    return all(plain)


def choices_of(arg: object) -> tuple[ValueChoice, ...]:
    """The choices that `arg` depends on, each once, in the order in which they stand."""
    if isinstance(arg, ValueChoice):
        return (arg,)
    if isinstance(arg, Derived):
        return tuple(dict.fromkeys(choice for operand in arg.operands for choice in choices_of(operand)))
    return ()


def value_of(arg: Arg, indices: Mapping[ValueChoice, int]) -> Any:
    """The value of `arg` when each choice has taken the value of this index; raises SupernetError where it is wrong.

    Fixed choices are no decisions: they have their default, whether `indices` names them or not.
    """
    if isinstance(arg, ValueChoice):
        return arg.values[arg.default if arg.mark == "fixed" else indices[arg]]
    if not isinstance(arg, Derived):
        return arg
    operands = [value_of(operand, indices) for operand in arg.operands]
    try:
        return arg.operation(*operands)
    except (TypeError, ZeroDivisionError) as error:
        raise SupernetError(f"cannot compute {short(arg)} of {str(operands)[:120]}: {error}") from None
