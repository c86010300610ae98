"""Arithmetic on what is not decided yet gives a derived value; whatever needs the number itself is refused.

Code such as `range(width)`, `width > 3` or `nn.Conv2d(3, width, 3)` cannot work while the width is open, and is told so
by name, with the way out.
"""

import operator
from collections.abc import Callable
from typing import NoReturn, TypeAlias

from torch import nn

from ..errors import SupernetError

__all__ = ["Arithmetic", "Derived", "Operand", "Plain", "short"]

Plain = int | float | str
# A value that is used twice is computed twice: thirty sums, each of the one before with itself, are a billion
# additions. Widths that grow by a sum a layer, the longest that anyone has written, stay below a hundred.
MOST_OPERATIONS = 2_000
Operand: TypeAlias = "int | float | Arithmetic"


class Arithmetic:
    """+, -, * and // with numbers and other choices; everything that would need the value itself raises."""

    def __add__(self, other: Operand) -> "Derived":
        return Derived(operator.add, self, other)

    def __radd__(self, other: Operand) -> "Derived":
        return Derived(operator.add, other, self)

    def __sub__(self, other: Operand) -> "Derived":
        return Derived(operator.sub, self, other)

    def __rsub__(self, other: Operand) -> "Derived":
        return Derived(operator.sub, other, self)

    def __mul__(self, other: Operand) -> "Derived":
        return Derived(operator.mul, self, other)

    def __rmul__(self, other: Operand) -> "Derived":
        return Derived(operator.mul, other, self)

    def __floordiv__(self, other: Operand) -> "Derived":
        return Derived(operator.floordiv, self, other)

    def __rfloordiv__(self, other: Operand) -> "Derived":
        return Derived(operator.floordiv, other, self)

    def __neg__(self) -> "Derived":
        return Derived(operator.neg, self)

    def _refuse(self, what: str) -> NoReturn:
        raise SupernetError(
            f"{what} needs a number, but {short(self)} is not decided yet; give it to a layer of supernet "
            "(supernet.Conv2d, Linear, Norm, Attention, Repeat ...), which takes choices, and compute with + - * // or "
            "rounded(...)"
        )

    def __eq__(self, other: object) -> bool:
        return self._refuse("==") if isinstance(other, Plain) else self is other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        self._refuse("a condition")

    def __int__(self) -> int:
        self._refuse("int()")

    def __index__(self) -> int:
        self._refuse("an index, a size or range()")

    def __float__(self) -> float:
        self._refuse("float()")

    def __round__(self, digits: int | None = None) -> int:
        self._refuse("round()")

    def __lt__(self, other: object) -> bool:
        self._refuse("<")

    def __le__(self, other: object) -> bool:
        self._refuse("<=")

    def __gt__(self, other: object) -> bool:
        self._refuse(">")

    def __ge__(self, other: object) -> bool:
        self._refuse(">=")

    def __mod__(self, other: object) -> NoReturn:
        self._refuse("%")

    __rmod__ = __divmod__ = __rdivmod__ = __mod__

    def __pow__(self, other: object) -> NoReturn:
        self._refuse("**")

    __rpow__ = __pow__

    def __abs__(self) -> NoReturn:
        self._refuse("abs()")

    def __format__(self, form: str) -> str:
        return super().__format__(form) if not form else self._refuse(f"the format {form!r:.20}")

    def __rtruediv__(self, other: object) -> NoReturn:
        self._refuse("/, where // gives a whole number; / ")

    def __truediv__(self, other: object) -> NoReturn:
        self._refuse("/, where // gives a whole number; / ")


class Derived(Arithmetic, nn.Module):
    """A value computed from others: `operation` of `operands`, each a number, a choice or derived itself.

    `size` counts the operations, those of operands as often as they are used. Raises SupernetError above 2,000.
    """

    def __init__(self, operation: Callable[..., Plain], *operands: Operand) -> None:
        super().__init__()
        for place, operand in enumerate(operands):
            if isinstance(operand, nn.Module):
                self.add_module(str(place), operand)  # found with the network, and copied with it
            if isinstance(operand, bool) or not isinstance(operand, int | float | Arithmetic):
                raise SupernetError(f"a Choice cannot be combined with {short(operand)}; use numbers and other choices")
            if not isinstance(operand, int | float | Derived) and not hasattr(operand, "values"):
                raise SupernetError(f"a choice of modules has no value to compute with: {short(operand)}")
        self.operation, self.operands = operation, operands
        self.size: int = 1 + sum(operand.size for operand in operands if isinstance(operand, Derived))
        if self.size > MOST_OPERATIONS:
            raise SupernetError(
                f"a derived value of {self.size:,} operations, counted as often as they are used; at most "
                f"{MOST_OPERATIONS:,}: a sum of a value with itself is better written as a product"
            )

    def extra_repr(self) -> str:
        return getattr(self.operation, "__name__", "") + ", " + ", ".join(map(str, self.operands))


def short(value: object) -> str:
    """A module's text takes several lines; a message has one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
