"""Beta decay (beta-DARTS; Ye et al., arXiv:2203.01665, section 3.2).

L_val + lambda(e) * mean over rows of log sum_o exp(alpha[e, o]),     lambda(e) = factor * e / T

Its gradient by a row of alphas is lambda p / E: it pulls down most what is strongest, and so keeps the mixing weights
from running apart. A softmax does not see a shift of its row: without weight decay on the alphas they would drift to
minus infinity together, which is why the authors keep it. T is the number of epochs; only a search on NAS-Bench-201
with factor 50 over 100 epochs is documented.
"""
# E edges, O operations

from collections.abc import Sequence

from torch import Tensor

from ...config import SearchConfig
from ...errors import SupernetError
from ...space import Table
from ..part import Clock
from ..parts import REGULARISERS
from .penalty import AlphaPenalty

__all__ = ["BetaDecay"]


@REGULARISERS.register("beta_decay")
class BetaDecay(AlphaPenalty):
    """`factor`, 0 or more, is what lambda would reach behind the last epoch."""

    traits = frozenset({"rows are distributions", "regularises alphas"})

    def __init__(self, factor: float = 50.0) -> None:
        super().__init__()
        if factor < 0:
            raise SupernetError(f"beta_decay: factor={factor} must be 0 or more")
        self.most = float(factor)

    def fits(self, config: SearchConfig) -> Sequence[str]:
        """Alphas without weight decay, and a factor that has risen before they begin to learn, are said."""
        lines = []
        if not config.alphas.weight_decay:
            lines.append("beta_decay with alphas.weight_decay=0: nothing keeps the alphas from drifting down together")
        if config.method.warmup_epochs:
            lines.append(f"beta_decay counts from epoch 0: with method.warmup_epochs={config.method.warmup_epochs} its "
                         "factor has risen before the alphas begin to learn")  # fmt: skip
        return lines

    def factor_at(self, clock: Clock) -> float:
        return self.most * clock.epoch / clock.epochs

    def penalty(self, alpha_EO: Tensor, table: Table) -> Tensor:
        """The mean over the rows of alphas [E, O] of log sum exp, a scalar."""
        return alpha_EO.logsumexp(dim=-1).mean()
