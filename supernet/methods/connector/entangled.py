"""One kernel for all sizes: mixed weights in place of mixed outputs (TangleNAS; Sukthanker et al., arXiv:2312.10440).

W = sum_k p_k pad(W[: c_k]),   y = conv(x; W)        slices of one weight: the first channels, the centre of the kernel

The layers of the language do that by themselves (space/layers, sharing="entangled", which is their default): memory and
time are those of the largest option alone, and any sampler and optimiser of the alphas goes with it. This part changes
nothing; it makes sure that there is something to entangle, since a method of that name on a space of separate
operations would be another one.
"""
# E edges, O operations

from typing import ClassVar

from torch import Tensor

from ...errors import SupernetError
from ...network import Supernet
from ...space import Space, Table
from ...space.layers.superposed import Superposed
from ..parts import CONNECTORS, MixConnector

__all__ = ["Entangled"]


@CONNECTORS.register("entangled")
class Entangled(MixConnector):
    """Asks for a space with a layer whose sizes share one weight."""

    stays_out: ClassVar[str] = "layers of undecided sizes take numbers from the host in each pass"
    traits = frozenset({"shared slices"})

    def check(self, space: Space) -> None:
        """Raises SupernetError for a space of cells, whose operations have weights of their own."""
        if space.factory is None:
            raise SupernetError(_refusal(space))

    def bind(self, net: Supernet, seed: int) -> None:
        """Raises SupernetError where no layer of the network shares a weight."""
        if not any(
            isinstance(module, Superposed) and module.sharing == "entangled" and len(module.settings) > 1
            for module in net.body.modules()
        ):
            raise SupernetError(_refusal(net.space))

    def forward(self, p_EO: Tensor, table: Table) -> Tensor:
        """p [E, O] as it is."""
        return p_EO


def _refusal(space: Space) -> str:
    return (
        f"method.connectors=entangled mixes slices of one weight, and no layer of space {space.name!r} has undecided "
        "sizes; search one that has, such as space=mobilenetv3_like, or method=drnas"
    )
