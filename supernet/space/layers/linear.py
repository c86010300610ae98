"""Linear layer with undecided features: they share one weight by its first rows and columns; a mixture is one layer."""
# C features

from torch import Tensor, nn
from torch.nn import functional as F

from ..value import Arg
from .elastic import Setting, shrunk
from .superposed import Superposed

__all__ = ["Linear"]


class Linear(Superposed):
    """[..., in_features] to [..., out_features]; both may be choices."""

    axis = -1
    reads = "in_features"

    def __init__(
        self,
        in_features: Arg,
        out_features: Arg,
        bias: bool = True,
        *,
        sharing: str = "entangled",
        init: Arg = "default",
    ) -> None:
        super().__init__(bias=bias, sharing=sharing, init=init, in_features=in_features, out_features=out_features)

    def shape(self, setting: Setting) -> tuple[int, ...]:
        return setting["out_features"], setting["in_features"]

    def apply_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None, setting: Setting) -> Tensor:
        """`x` [..., C], `weight` [C_out, C_in] and `bias` [C_out] to [..., C_out]."""
        return F.linear(shrunk(x, weight.shape[1], -1), weight, bias)

    def stock_layer(self, setting: Setting) -> nn.Module:
        return nn.Linear(setting["in_features"], setting["out_features"], bias=self.has_bias)
