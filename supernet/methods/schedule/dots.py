"""Operations first, then pairs of edges (DOTS; Gu et al., arXiv:2010.01969, section 3; authors' code).

weights 15 epochs,   weights and alphas 15,   all drawn anew with the best of each group,   weights 20,   both 20

The authors' last 20 epochs are single level on all data; here the two parts of the data keep their roles to the end.
"""

from dataclasses import replace

from ...config import SearchConfig
from ...errors import SupernetError
from ..parts import SCHEDULES, Schedule
from ..phase import Phase
from ..tail import tail

__all__ = ["Dots"]

GROUPS = 2  # operations that the watcher `best_of_groups` leaves on an edge, at most
WEIGHTS = frozenset({"weights"})


@SCHEDULES.register("dots")
class Dots(Schedule):
    """`operations`, in (0, 1), is the first stage's share of the epochs; .4286 is the authors' 30 of 70.

    `part`, in (0, 1], is the share of a stage in which the alphas learn, its last epochs.
    """

    traits = frozenset({"stages"})

    def __init__(self, operations: float = 0.4286, part: float = 0.5) -> None:
        super().__init__()
        if not 0 < operations < 1:
            raise SupernetError(f"dots: operations={operations} must lie in (0, 1)")
        if not 0 < part <= 1:
            raise SupernetError(f"dots: part={part} must lie in (0, 1]")
        self.operations, self.part = operations, part

    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        """Two phases a stage, or one without warm-up; raises SupernetError for fewer epochs than stages."""
        if config.epochs < 2:
            raise SupernetError(f"dots has 2 stages, and epochs={config.epochs} are fewer")
        first = min(max(1, round(self.operations * config.epochs)), config.epochs - 1)
        second = config.epochs - first
        return (*self._stage(Phase(first)), *self._stage(Phase(second, keep=GROUPS, starts_from="fresh")))

    def _stage(self, whole: Phase) -> tuple[Phase, ...]:
        learning = tail(whole.epochs, self.part)
        if alone := whole.epochs - learning:
            return replace(whole, epochs=alone, learns=WEIGHTS), Phase(learning)
        return (whole,)
