"""The genotype of the best epoch, in place of the last one's (OLES; https://openreview.net/forum?id=yAOwkf4FyL).

e* = argmax over epochs of the supernet's validation metric;     the result is the genotype that was present then

It looks at the epochs of the last phase; of equals the earlier one counts.
"""

from collections.abc import Sequence

from ...tasks.compare import rank
from ..look import Look
from ..parts import WATCHERS, Watcher
from ..verdict import Stop, Verdict

__all__ = ["BestEpoch"]


@WATCHERS.register("best_epoch")
class BestEpoch(Watcher):
    """Decides once, after the last epoch."""

    traits = frozenset({"stops"})

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """A stop after the last epoch, with the best one's genotype."""
        if not look.last:
            return ()
        best = max(look.history, key=lambda ended: rank(ended.metrics[look.selects], look.maximise))
        return (Stop(best.genotype),)
