"""Early stop by the curvature of the validation loss (RobustDARTS; Zela et al., arXiv:1909.09656, section 5.1).

lambda = largest eigenvalue of d^2 L_val / d alpha^2 + weight_decay I         every `every` epochs, on one batch
mean(c) = mean of the `window` measurements centred on c
stop where mean(c) / mean(c - apart) > ratio; the result is the genotype that was present at c - apart

A sharp minimum loses most when the mixture is rounded to one operation an edge, and comes before searches collapse to
skips. The authors' default is a measurement every 50 epochs, their scripts take every 2; they form the dense matrix and
take its largest real eigenvalue, not the largest absolute one. The batch is the first of the alphas' part.
"""

from collections.abc import Mapping, Sequence
from itertools import islice

from ...errors import SupernetError
from ...network.freezing import frozen, frozen_statistics
from ..curvature import alpha_products, largest_eigenvalue
from ..look import Ended, Look
from ..parts import WATCHERS, Watcher
from ..verdict import Stop, Verdict

__all__ = ["Eigenvalue"]

NAME = "eigenvalue"
ENTRY = f"method/{NAME}"


@WATCHERS.register("eigenvalue")
class Eigenvalue(Watcher):
    """`ratio` 0 only measures. `first` is the epoch, counted from 0, before which no earlier centre may lie.

    `apart` counts measurements, as `window` does, which is odd.
    """

    traits = frozenset({"curvature", "stops"})

    def __init__(
        self, every: int = 2, ratio: float = 1.3, window: int = 5, apart: int = 4, first: int = 10,
        weight_decay: float = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value in (("every", every), ("window", window), ("apart", apart)):
            if value < 1:
                raise SupernetError(f"eigenvalue: {name}={value} must be 1 or more")
        if window % 2 == 0:
            raise SupernetError(f"eigenvalue: window={window} must be odd, it is centred")
        if ratio < 0:
            raise SupernetError(f"eigenvalue: ratio={ratio} must be 0 (never stop) or more")
        self.every, self.ratio, self.beside, self.apart, self.first = every, ratio, window // 2, apart, first
        self.weight_decay = weight_decay

    def end_epoch(self, look: Look) -> Mapping[str, float]:
        """The eigenvalue, in the epochs in which it is measured."""
        if (look.clock.epoch + 1) % self.every:
            return {}
        (val,) = islice(look.loaders("val"), 1)
        problem = look.problem(val, val)
        with look.net.executing("torch"), frozen_statistics(look.net), frozen(problem.weights):
            size = sum(alpha.numel() for alpha in problem.alphas)
            value = largest_eigenvalue(alpha_products(problem), size)
        return {NAME: value + self.weight_decay}

    def verdict(self, look: Look) -> Sequence[Verdict]:
        """A stop, with the genotype of the earlier centre."""
        earlier = self.bent([ended for ended in look.history if ENTRY in ended.metrics])
        return () if earlier is None else (Stop(earlier.genotype),)

    def bent(self, measured: Sequence[Ended]) -> Ended | None:
        """The earlier centre where the newest two windows differ by more than the ratio; None where all goes on."""
        late = len(measured) - 1 - self.beside
        early = late - self.apart
        # Only where a measurement is new: between two of them the windows are those of before.
        if not self.ratio or early - self.beside < 0 or measured[early].epoch < self.first:
            return None
        before, after = self._mean(measured, early), self._mean(measured, late)
        return measured[early] if after > self.ratio * before else None

    def _mean(self, measured: Sequence[Ended], centre: int) -> float:
        window = measured[centre - self.beside : centre + self.beside + 1]
        return sum(ended.metrics[ENTRY] for ended in window) / len(window)
