"""Deeper networks of fewer operations, stage by stage (P-DARTS; Chen et al., arXiv:1904.12760, section 3.2).

stage s = 0 .. S-1:   layers[s] cells,   keep[s] operations a row, those that were strongest in the stage before
                      epochs / S epochs each, of which only weights learn in the first `warmup`

Weights and alphas are drawn anew in each stage (the authors' code). A deep network of all operations does not fit into
memory; one of few does, and is nearer to the network that is evaluated.
"""

from dataclasses import replace

from ...config import SearchConfig
from ...errors import SupernetError
from ..parts import SCHEDULES, Schedule
from ..phase import Phase

__all__ = ["PDarts"]


@SCHEDULES.register("p_darts")
class PDarts(Schedule):
    """`layers` and `keep` have an entry a stage; what is left after the last one is the selector's to choose from.

    `warmup` is the share of a stage, in [0, 1), in which only weights learn; .4 is the authors' 10 of 25 epochs.
    """

    traits = frozenset({"stages"})

    def __init__(
        self, layers: tuple[int, ...] = (5, 11, 17), keep: tuple[int, ...] = (8, 5, 3), warmup: float = 0.4
    ) -> None:
        super().__init__()
        if len(layers) != len(keep) or not layers:
            raise SupernetError(f"p_darts: layers={list(layers)} and keep={list(keep)} must have an entry a stage")
        if not 0 <= warmup < 1:
            raise SupernetError(f"p_darts: warmup={warmup} must lie in [0, 1)")
        self.layers, self.keep, self.warmup = tuple(layers), tuple(keep), warmup

    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        """Two phases a stage, or one without warm-up; raises SupernetError for fewer epochs than stages."""
        stages = len(self.layers)
        each = config.epochs // stages
        if each < 1:
            raise SupernetError(f"p_darts has {stages} stages, and epochs={config.epochs} are fewer")
        phases: list[Phase] = []
        for stage, (layers, keep) in enumerate(zip(self.layers, self.keep, strict=True)):
            epochs = each if stage else config.epochs - each * (stages - 1)
            alone = min(round(self.warmup * epochs), epochs - 1)
            first = Phase(epochs, {"layers": layers}, keep, starts_from="fresh" if stage else "inherit")
            if alone:
                phases.append(replace(first, epochs=alone, learns=frozenset({"weights"})))
                first = Phase(epochs - alone, {"layers": layers})
            phases.append(first)
        return tuple(phases)
