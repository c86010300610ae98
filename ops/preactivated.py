"""Operations that open with a ReLU, which an executor may compute once for all edges that leave one state."""

from typing import cast

from torch import Tensor, nn

__all__ = ["PreActivated"]


class PreActivated(nn.Sequential):
    """ReLU first, then `layers` in order."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(nn.ReLU(inplace=False), *layers)  # in place would change the state that other edges read

    def after_relu(self, x: Tensor) -> Tensor:
        """The operation without its ReLU, for an `x` of [B, C, H, W] that has been through one."""
        for layer in list(self.children())[1:]:
            x = cast(nn.Module, layer)(x)
        return x
