"""How a table writes an architecture. A spelling turns a text into the flat vector of a point (`Space.encode`).

digits        one digit a decision, in the order of the space's encoding: NAS-Bench-Macro's 02012100
nasbench201   |nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|
encoded       the vector itself, its numbers apart by spaces, commas or semicolons, with or without brackets
"""

import re
from collections.abc import Callable
from typing import TypeAlias

from ..errors import SupernetError
from ..registry import Registry
from ..space import Space
from ..space.zoo.nasbench201 import from_string

__all__ = ["SPELLINGS", "Spelling"]

# (text, space) -> flat vector [D], which need not be a point of the space; SupernetError for what cannot be read.
Spelling: TypeAlias = Callable[[str, Space], list[int]]

SPELLINGS: Registry[Spelling] = Registry("spelling of an architecture")

_NUMBER = re.compile(r"-?\d{1,9}")


@SPELLINGS.register("digits")
def digits(text: str, space: Space) -> list[int]:
    """Each digit is the number of an option, counted from 0."""
    if not (text.isascii() and text.isdigit()):
        raise SupernetError(f"{text[:60]!r} is no row of digits")
    return [int(digit) for digit in text]


@SPELLINGS.register("nasbench201")
def nasbench201(text: str, space: Space) -> list[int]:
    """The string of the benchmark; operations are looked up by their names, in whatever order the space has them."""
    point = from_string(text)
    return space.encode(space.genotype(point.decisions))


@SPELLINGS.register("encoded")
def encoded(text: str, space: Space) -> list[int]:
    """The numbers as `Space.encode` gives them; -1 stands for a decision that is closed."""
    words = re.split(r"[\s,;]+", text.strip().strip("[]()").strip())
    if not all(map(_NUMBER.fullmatch, words)):
        raise SupernetError(f"{text[:60]!r} is no row of whole numbers")
    return [int(word) for word in words]
