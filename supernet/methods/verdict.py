"""What a watcher or a selector decides when an epoch has ended; the search carries it out before it saves.

    Mask        these options do not run any more            FixEdge     one option of a row is left
    Freeze      these weights or alphas learn no more        Stop        the search ends with this genotype
    Rollback    back to an ended epoch, other settings       Enter       the next phases, several for a branch
    Done        a selection has no rounds left

No verdict is an empty list. All are plain values, so that a checkpoint can hold what follows from them.
"""
# E edges, O operations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ..network.mixture import HostMask
from ..space import Genotype
from .phase import Phase

__all__ = ["Done", "Enter", "FixEdge", "Freeze", "Mask", "Rollback", "Stop", "Verdict"]


@dataclass(frozen=True)
class Mask:
    """What may still run, [E][O] a table; what has been masked before stays so."""

    masks: Mapping[str, HostMask]


@dataclass(frozen=True)
class FixEdge:
    """Of row `row` of a table only option `column` is left."""

    table: str
    row: int
    column: int


@dataclass(frozen=True)
class Freeze:
    """The weights of (site, row, column) and the alphas of whole tables stay as they are, to the bit."""

    operations: tuple[tuple[int, int, int], ...] = ()
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stop:
    """The search ends here; its result is `genotype`, such as that of an earlier epoch."""

    genotype: Genotype


@dataclass(frozen=True)
class Rollback:
    """Weights, alphas and optimisers as they were after `epoch` of the run, then on from there.

    `settings` change what learns, such as {"weights.weight_decay": 9e-4}. The epochs since then are done again.
    """

    epoch: int
    settings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Enter:
    """These phases come next, in place of those that were planned; several that start from "parent" are a branch."""

    phases: tuple[Phase, ...]


@dataclass(frozen=True)
class Done:
    """The selection is made: the present genotype is the result of its phase."""


Verdict: TypeAlias = Mask | FixEdge | Freeze | Stop | Rollback | Enter | Done
