"""What every part of a method has: numbers in fixed places, one moment when the host speaks, one when it listens.

    bind(net, seed)      shapes are known: make buffers, and parameters that learn with the alphas or the weights
    prepare(clock)       before each step, host to buffers: a temperature, a ramp
    end_epoch(look)      after each epoch, the only place where numbers of the device are read

Between `prepare` and the end of a step nothing asks the host, so that a step can be captured as a graph. Buffers keep
their place, so that a captured step stays valid and a checkpoint holds the whole state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import nn

if TYPE_CHECKING:
    from ..config import SearchConfig
    from ..network import Supernet
    from ..space import Space
    from .look import Look

__all__ = ["Clock", "Part"]


@dataclass(frozen=True)
class Clock:
    """Where a search stands before a step; everything counts from 0.

    `step` counts all steps of the run, so that noise counted from it never repeats. `epoch` of `epochs` count since the
    weights were last drawn anew, which in a search of one phase is its start; `phase` is the number of the phase, and
    `stage` how many times the weights have been drawn anew.
    """

    step: int = 0
    epoch: int = 0
    epochs: int = 1
    phase: int = 0
    stage: int = 0


class Part(nn.Module):
    """One idea of a method. Parts that have a state keep it in buffers, and what learns in parameters.

    `stays_out` says why steps with this part are not captured as a graph, "" where they are. `double_backward` asks for
    a network whose output can be differentiated twice. `traits` are the words by which pairs of parts are refused
    (refusals.py). `past` is how many ended epochs a search must keep, for parts that go back to one. `learns_with` says
    whose optimiser steps the part's parameters. `repeats` asks that all passes of its half of a step over one
    batch see the same random draws of the network, such as dropout's: else a difference of two passes would be theirs.
    """

    stays_out: ClassVar[str] = ""
    double_backward: ClassVar[bool] = False
    traits: frozenset[str] = frozenset()
    past: int = 0
    repeats: ClassVar[bool] = False
    learns_with: ClassVar[Literal["alphas", "weights"]] = "alphas"

    def meet(self, parts: "Sequence[Part]") -> None:
        """The parts of the method, this one too, when it is composed; for those that read another's parameters."""

    def check(self, space: "Space") -> None:
        """Raises SupernetError where the part makes no sense for a space; called before anything is made."""

    def fits(self, config: "SearchConfig") -> Sequence[str]:
        """Lines that a user should read about these settings with this part; none by default.

        Raises SupernetError where the part would never act under them. Called before anything is made.
        """
        return ()

    def bind(self, net: "Supernet", seed: int) -> None:
        """Called once, when the network is there; `seed` is for noise that is counted."""

    def prepare(self, clock: Clock) -> None:
        """Called before each step; whatever changes from step to step goes into buffers here."""

    def end_epoch(self, look: "Look") -> Mapping[str, float]:
        """Numbers of the epoch that has ended, logged as method/NAME; none by default."""
        return {}
