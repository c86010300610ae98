"""Dropout behind skip connections during the search (P-DARTS; Chen et al., arXiv:1904.12760, section 3.3.1).

skip(x)  <-  m * skip(x) / (1 - q),   m ~ Bernoulli(1 - q) for each number,   q = rate * decay^epoch

A skip passes everything on from the first step, before operations with weights have learned, and so it wins; dropping
some of it early gives them time. The authors' README takes rates of .1, .4 and .7 in the three stages (their code's
default is 0). Their rate falls in a straight line in the warm-up, begins anew behind it and then falls by exp(-.2) an
epoch; here it falls by `decay` from the first epoch of a stage on.
"""
# B batch, C channels, H height, W width

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ...network.connector import EdgeSite
from ...space import Space
from ..part import Clock
from ..parts import CONNECTORS, EdgeConnector

__all__ = ["SkipDropout"]

SKIP = "skip_connect"


@CONNECTORS.register("skip_dropout")
class SkipDropout(EdgeConnector):
    """`rate` in [0, 1) is the share of numbers that is dropped in epoch 0; it is multiplied by `decay` each epoch.

    `stages` has a rate for each time that the weights are drawn anew, in place of `rate`; the last one goes on.
    """

    rate: Tensor
    traits = frozenset({"weakens skips", "draws on activations"})

    def __init__(self, rate: float = 0.4, decay: float = 1.0, stages: tuple[float, ...] = ()) -> None:
        super().__init__()
        for name, value in (("rate", rate), *(("stages", stage) for stage in stages)):
            if not 0 <= value < 1:
                raise SupernetError(f"skip_dropout: {name}={value} must lie in [0, 1)")
        if not 0 < decay <= 1:
            raise SupernetError(f"skip_dropout: decay={decay} must lie in (0, 1]")
        self.stages, self.decay = tuple(map(float, stages or (rate,))), float(decay)
        self.register_buffer("rate", torch.tensor(self.stages[0]), persistent=False)

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space without skip connections."""
        if not any(SKIP in table.columns for table in space.tables):
            raise SupernetError(
                f"method.connectors=skip_dropout drops outputs of {SKIP}, which space {space.name!r} does not offer"
            )

    def bind(self, net: Supernet, seed: int) -> None:
        self.to(net.alphas()[0].device)

    def prepare(self, clock: Clock) -> None:
        first = self.stages[min(clock.stage, len(self.stages) - 1)]
        self.rate.fill_(first * self.decay**clock.epoch)

    def forward(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs [B, C, H, W] by operation, that of the skip with some numbers dropped while training."""
        if SKIP not in outputs or not self.training or not any(self.stages):
            return outputs
        y = outputs[SKIP]
        # Drawn in one order whatever the memory format of y, so that executors draw the same numbers.
        stays = torch.rand(y.shape, device=y.device) >= self.rate
        return outputs | {SKIP: y * (stays / (1 - self.rate)).to(y.dtype)}
