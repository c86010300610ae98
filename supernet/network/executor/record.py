"""What the way through a mixed cell leaves for the way back."""
# B batch, C channels, H height, W width, T terms of a node, n branches

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from torch import Tensor, nn

from .bypasses import Bypasses
from .inner_graphs import InnerGraph

__all__ = ["Kept", "KeptTerm", "NodeRecord", "Record", "RowOf", "ShareOf", "Slot"]


@dataclass(frozen=True)
class Kept:
    """A term that is a kept tensor."""

    number: int


@dataclass(frozen=True)
class RowOf:
    """A term that is row `row` of a kept tensor [n, B, C, H, W]."""

    number: int
    row: int


@dataclass(frozen=True)
class ShareOf:
    """A term that is the state `source` as its operations see it, or a pooling of it, which is computed again."""

    source: int
    kind: int  # layout.py


Slot: TypeAlias = Kept | RowOf | ShareOf


class KeptTerm(NamedTuple):
    """Where the way back has a term from, and the term's norm."""

    slot: Slot
    norm: nn.BatchNorm2d | None


@dataclass(frozen=True)
class NodeRecord:
    """The sum of a node: its terms, the number of [4, T, C] of their norms (norms.py), and [T] of weights and gate."""

    terms: tuple[KeptTerm, ...]
    packed: int
    p: Tensor
    gate: Tensor | None


class Record:
    """Numbers of kept tensors, and the graphs of the stock operations. Where not `keeps`, there is no way back.

    The tensors themselves go to autograd, which gives them back in their order.
    """

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps
        self.tensors: list[Tensor] = []
        self.states: list[int] = []  # [B, C, H, W]: what the operations see of each state
        self.bypasses: Bypasses | None = None  # with partial channels
        self.z1: dict[int, int] = {}  # of a source: [n, B, C, H, W] behind the first halves
        self.z2: dict[int, int] = {}  # behind the second halves
        self.middle: dict[int, int] = {}  # [4, m, C] of the norms between the halves of m branches
        self.stock: dict[int, InnerGraph] = {}
        self.nodes: list[NodeRecord] = []

    def keep(self, x: Tensor) -> int:
        """The number of `x`, of any shape, among the kept tensors; without a way back it means nothing."""
        if self.keeps:
            self.tensors.append(x)
        return len(self.tensors) - 1

    def clear(self) -> None:
        """Lets go of what is held beside autograd's own tensors."""
        self.stock.clear()
        if self.bypasses is not None:
            self.bypasses.clear()
