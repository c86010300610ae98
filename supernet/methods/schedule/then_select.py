"""A search, then a final selection in rounds (the last step of DARTS-PT, SPOS and random search with weight sharing).

    warm-up, then epochs in which weights and alphas learn, then `epochs` of tuning with a round after each

`epochs` 0: there is no tuning, and the selector has one round after the last epoch of the search.
"""

from ...config import SearchConfig
from ...errors import SupernetError
from ..parts import SCHEDULES, Schedule
from ..phase import Phase

__all__ = ["ThenSelect"]

BOTH = frozenset({"weights", "alphas"})
SELECTION = "selection"


@SCHEDULES.register("then_select")
class ThenSelect(Schedule):
    """`epochs` of tuning, whose rate of the weights begins anew at `lr_share` of that of the search."""

    def __init__(self, epochs: int = 0, lr_share: float = 0.1) -> None:
        super().__init__()
        if epochs < 0:
            raise SupernetError(f"then_select: epochs={epochs} must be 0 or more")
        if not 0 < lr_share <= 1:
            raise SupernetError(f"then_select: lr_share={lr_share} must lie in (0, 1]")
        self.epochs, self.lr_share = epochs, lr_share

    def phases(self, config: SearchConfig) -> tuple[Phase, ...]:
        """Up to three phases; raises SupernetError where the warm-up leaves no epoch."""
        warmup, rest = config.method.warmup_epochs, config.epochs - config.method.warmup_epochs
        if rest < 1:
            raise SupernetError(f"method.warmup_epochs={warmup} of epochs={config.epochs}: it must be less")
        phases = [Phase(warmup, learns=frozenset({"weights"}))] if warmup else []
        if self.epochs:
            lr = max(self.lr_share * config.weights.lr, config.weights.min_lr)
            return (*phases, Phase(rest), Phase(self.epochs, learns=BOTH | {SELECTION}, settings={"weights.lr": lr}))
        if rest > 1:
            phases.append(Phase(rest - 1))
        return (*phases, Phase(1, learns=BOTH | {SELECTION}))
