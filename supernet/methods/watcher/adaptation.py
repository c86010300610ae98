"""Stronger weight decay where the validation loss bends (RobustDARTS, ADA; Zela et al., arXiv:1909.09656, section 5.2).

where the criterion of `eigenvalue` holds:   back to the state of the earlier centre,   weight decay *= factor
where that would be above `most`:            a stop, with the genotype of the earlier centre

The largest eigenvalue of d^2 L_val / d alpha^2, its windows and the ratio are those of eigenvalue.py. 3e-4, 9e-4,
27e-4, 81e-4 and 243e-4 are the authors' steps. That the last one ends like early stopping is how their text is read
here. Nothing goes back behind an epoch that was gone back to. A search keeps the state of every epoch between the two
centres, 13 with the authors' windows, in memory and in its checkpoints.
"""

from collections.abc import Sequence
from itertools import islice, pairwise

from ...errors import SupernetError
from ..look import Ended, Look
from ..parts import WATCHERS
from ..verdict import Rollback, Stop, Verdict
from .eigenvalue import ENTRY, Eigenvalue

__all__ = ["Adaptation"]

ROUNDING = 1e-9  # relative: 3e-4 * 3 ** 4 is a little less or more than 243e-4


@WATCHERS.register("adaptation")
class Adaptation(Eigenvalue):
    """`factor` is above 1, `most` the largest weight decay; the others are the arguments of `eigenvalue`."""

    traits = frozenset({"curvature", "goes back"})

    def __init__(
        self, every: int = 2, ratio: float = 1.3, window: int = 5, apart: int = 4, first: int = 10,
        weight_decay: float = 1e-3, factor: float = 3.0, most: float = 243e-4,
    ) -> None:  # fmt: skip
        super().__init__(every, ratio, window, apart, first, weight_decay)
        if factor <= 1:
            raise SupernetError(f"adaptation: factor={factor} must be above 1")
        if most <= 0:
            raise SupernetError(f"adaptation: most={most} must be above 0")
        self.factor, self.most = factor, most
        self.past = (self.apart + self.beside) * every + 1

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """Back to the earlier centre with more weight decay, or a stop where there may be no more."""
        earlier = self.bent([ended for ended in look.history if ENTRY in ended.metrics])
        if earlier is None or earlier.epoch < last_return(look.history):
            return ()
        (val,) = islice(look.loaders("val"), 1)
        stronger = look.problem(val, val).weight_decay * self.factor
        if not 0 < stronger <= self.most * (1 + ROUNDING):
            return (Stop(earlier.genotype),)
        return (Rollback(earlier.epoch, {"weights.weight_decay": stronger}),)


def last_return(history: Sequence[Ended]) -> int:
    """The epoch of the run that was last gone back to: the epochs behind it do not go on from its number; 0: none."""
    gaps = [before.epoch for before, after in pairwise(history) if after.epoch != before.epoch + 1]
    return gaps[-1] if gaps else 0
