"""Parts of a network that are counted and timed by themselves, and when each of them runs.

A network is a list of placed parts. In a relaxed network each runs under factors, one for every decision on its way:

    P(part runs) = prod_f  sum_{o in options of f}  p[table of f][row of f, o]

Factors on one row are merged, so the product is linear in each row of p and, at the p of a genotype, 1 or 0.
"""
# B batch

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from torch import nn

from ..network.macro.frame import Shape

__all__ = ["Factor", "Part", "Placed", "Shape", "merged"]


@dataclass(frozen=True)
class Part:
    """A module and the shapes of its inputs; parts of one `name` and equal inputs are the same thing.

    `make` builds it on torch's default device. One that does not run has parameters alone; one that runs again, on
    weights that another part has counted, owns none.
    """

    name: str
    inputs: tuple[Shape, ...]
    make: Callable[[], nn.Module] = field(compare=False, repr=False)
    runs: bool = True
    owns: bool = True

    @property
    def key(self) -> str:
        """What tells this part from others, in a file too."""
        return f"{self.name} @ {' '.join('x'.join(map(str, shape)) for shape in self.inputs)}"


@dataclass(frozen=True)
class Factor:
    """One of `options` of row `row` of table `table` runs."""

    table: str
    row: int
    options: tuple[int, ...]


@dataclass(frozen=True)
class Placed:
    """A part that runs `times` times where all `factors` hold."""

    part: Part
    factors: tuple[Factor, ...] = ()
    times: int = 1


def merged(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    """The same condition with one factor a row, in the order of first appearance."""
    options: dict[tuple[str, int], Sequence[int]] = {}
    for factor in factors:
        place = factor.table, factor.row
        before = options.get(place, factor.options)
        options[place] = [option for option in before if option in factor.options]
    return tuple(Factor(table, row, tuple(left)) for (table, row), left in options.items())
