"""No training at all: rounds of a selection over a network as it was drawn (TE-NAS; Chen et al., arXiv:2102.11535).

one phase of `epochs` epochs in which neither weights nor alphas learn; the selector ends it
"""

from ...config import SearchConfig
from ..parts import SCHEDULES, Schedule
from ..phase import Phase

__all__ = ["Untrained"]


@SCHEDULES.register("untrained")
class Untrained(Schedule):
    """An epoch is a round of the selector."""

    traits = frozenset({"trains nothing"})

    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        """One phase."""
        return (Phase(config.epochs, learns=frozenset({"selection"})),)
