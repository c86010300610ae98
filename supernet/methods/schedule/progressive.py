"""Fewer operations on more channels, stage by stage (DrNAS; Chen et al., arXiv:2006.10355, section 3.4, their code).

stage s = 0 .. S-1:   operations see 1 / partial[s] of the channels
                      from the second stage on keep[s - 1] operations a row stay
                      epochs / S epochs each, of which only weights learn in the first `warmup`

Weights, running statistics and momenta go on: new channels are copies of random ones (train/widening.py). The rate
falls along one cosine over all stages. In the authors' script DARTS cells have 7 operations, without `none`, partial 6
and then 4; for NAS-Bench-201 it is 50 epochs a stage, partial 4 and 2, 5 and 3 operations, without warm-up.
"""

from dataclasses import replace

from ...config import SearchConfig
from ...errors import SupernetError
from ...network import Supernet
from ...network.cells.cell import MixedCell
from ...network.cells.partial_channels import require_divisor
from ..parts import SCHEDULES, Schedule
from ..phase import Phase

__all__ = ["Progressive"]


@SCHEDULES.register("progressive")
class Progressive(Schedule):
    """`partial` has an entry a stage, never a larger one after a smaller; `keep` one a stage from the second on.

    `warmup` is the share of a stage, in [0, 1), in which only weights learn; .4 is the authors' 10 of 25 epochs.
    """

    traits = frozenset({"stages"})

    def __init__(self, partial: tuple[int, ...] = (6, 4), keep: tuple[int, ...] = (4,), warmup: float = 0.4) -> None:
        super().__init__()
        if len(partial) != len(keep) + 1:
            raise SupernetError(
                f"progressive: partial={list(partial)} must have an entry a stage, and keep={list(keep)} one a stage "
                "from the second on"
            )
        if list(partial) != sorted(partial, reverse=True):
            raise SupernetError(f"progressive: partial={list(partial)} must not rise: operations cannot grow narrower")
        if not 0 <= warmup < 1:
            raise SupernetError(f"progressive: warmup={warmup} must lie in [0, 1)")
        self.partial, self.keep, self.warmup = tuple(partial), tuple(keep), warmup

    def bind(self, net: Supernet, seed: int) -> None:
        """Raises SupernetError for cells whose channels some stage cannot divide, and for a network without cells."""
        cells = [module for module in net.modules() if isinstance(module, MixedCell)]
        if not cells:
            raise SupernetError(
                f"method.schedule=progressive shows operations a part of the channels, and space {net.space.name!r} "
                "does not have mixed cells; it takes a space such as darts or nasbench201"
            )
        for cell in cells:
            for k in self.partial:
                require_divisor(cell.plan.channels, k)

    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        """Two phases a stage, or one without warm-up; raises SupernetError for fewer epochs than stages."""
        stages = len(self.partial)
        each = config.epochs // stages
        if each < 1:
            raise SupernetError(f"progressive has {stages} stages, and epochs={config.epochs} are fewer")
        phases: list[Phase] = []
        for stage, partial in enumerate(self.partial):
            epochs = each if stage else config.epochs - each * (stages - 1)
            alone = min(round(self.warmup * epochs), epochs - 1)
            first = Phase(epochs, {"partial": partial})
            if stage:
                first = replace(first, keep=self.keep[stage - 1], starts_from="widen")
            if alone:
                phases.append(replace(first, epochs=alone, learns=frozenset({"weights"})))
                first = Phase(epochs - alone)
            phases.append(first)
        return tuple(phases)
