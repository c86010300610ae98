"""Operations that open with a ReLU, which an executor may compute once for all edges that leave one state."""

from torch import nn

__all__ = ["PreActivated"]


class PreActivated(nn.Sequential):
    """ReLU first, then `layers` in order."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(nn.ReLU(inplace=False), *layers)  # in place would change the state that other edges read

    def behind_relu(self) -> list[nn.Module]:
        """The layers that follow the first ReLU, in order."""
        return list(self.children())[1:]
