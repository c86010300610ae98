"""Noise on skip connections during the search (NoisyDARTS; Chu and Zhang, arXiv:2005.03566, section 3).

skip(x)  <-  skip(x) + n,   n ~ N(0, (scale * std)^2) for each number,   std that of skip(x) over the batch

A skip passes everything on from the first step; unbiased noise hinders it a little, and in expectation leaves the
gradient as it is. .2 is the authors' scale. They take the standard deviation of x, which is the same on edges that keep
the size; no gradient goes through it.
"""
# B batch, C channels, H height, W width

import torch
from torch import Tensor

from ...errors import SupernetError
from ...network.connector import EdgeSite
from ...space import Space
from ..parts import CONNECTORS, EdgeConnector

__all__ = ["SkipNoise"]

SKIP = "skip_connect"


@CONNECTORS.register("skip_noise")
class SkipNoise(EdgeConnector):
    """`scale`, 0 or more, is the noise's standard deviation in units of that of what it is added to."""

    traits = frozenset({"weakens skips", "draws on activations"})

    def __init__(self, scale: float = 0.2) -> None:
        super().__init__()
        if scale < 0:
            raise SupernetError(f"skip_noise: scale={scale} must be 0 or more")
        self.scale = float(scale)

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space without skip connections."""
        if not any(SKIP in table.columns for table in space.tables):
            raise SupernetError(
                f"method.connectors=skip_noise adds to outputs of {SKIP}, which space {space.name!r} does not offer"
            )

    def forward(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs [B, C, H, W] by operation, that of the skip with noise while training."""
        if SKIP not in outputs or not self.training or not self.scale:
            return outputs
        y = outputs[SKIP]
        # Drawn in one order whatever the memory format of y, so that executors draw the same numbers.
        noise = torch.randn(y.shape, device=y.device, dtype=y.dtype)
        return outputs | {SKIP: y + self.scale * y.detach().std() * noise}
