"""How the threads of a block lie over channels-last data: `Geometry` of device.cuh, computed for the host."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .launch import THREADS

__all__ = ["Geometry", "geometry"]


@dataclass(frozen=True)
class Geometry:
    """LANES threads side by side over a tile of channels, `vector` channels each; ROWS pixels below one another."""

    channels: int
    vector: int
    widest: int = 64  # channels of a tile at most

    @property
    def lanes(self) -> int:
        needed = -(-self.channels // self.vector)
        return min(1 << (needed - 1).bit_length(), 32, self.widest // self.vector)

    @property
    def rows(self) -> int:
        return THREADS // self.lanes

    @property
    def tiles(self) -> int:
        """How many tiles cover the channels."""
        return -(-self.channels // (self.lanes * self.vector))


def geometry(channels: int, tensors: Sequence[Tensor], most: int = 8, widest: int = 64) -> Geometry:
    """The widest access, of at most 16 bytes and `most` values, that channels and addresses of `tensors` allow.

    They are [..., C, H, W] of one type; a tile takes at most `widest` channels.
    """
    size = tensors[0].element_size()
    vector = 16 // size
    while vector > 1 and (vector > most or channels % vector or any(x.data_ptr() % (vector * size) for x in tensors)):
        vector //= 2
    return Geometry(channels, vector, widest)
