"""What stands around the cells of a network, with the sizes of the maps: stem, reductions, head, and where cells stand.

It is a description, without weights, of what a discrete network of cells is built as; costs are counted from it.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn

from ..cells.cell import CellPlan
from ..cells.classifier import CellClassifier

__all__ = ["Fixture", "Frame", "FrameOf", "Shape", "Site", "halved", "head"]

Shape: TypeAlias = tuple[int, ...]  # with the batch in front


@dataclass(frozen=True)
class Fixture:
    """A module that every genotype has, and the shape of its input; those of one `name` and shape are the same thing.

    `make` builds it on torch's default device. One that does not run is there for training alone.
    """

    name: str
    input: Shape
    make: Callable[[], nn.Module]
    runs: bool = True


@dataclass(frozen=True)
class Site:
    """A cell's plan and the shapes [B, C, H, W] of its inputs."""

    plan: CellPlan
    inputs: tuple[Shape, ...]

    @property
    def inner(self) -> Shape:
        """[B, C, H, W] of the input states behind the cell's entrance."""
        batch, _, *size = self.inputs[-1]
        return (batch, self.plan.channels, *size)

    @property
    def outer(self) -> Shape:
        """[B, C, H, W] of the cell's nodes."""
        return (*self.inner[:2], *halved(self.inner[2:])) if self.plan.reduction else self.inner

    def output(self, joined: int) -> Shape:
        """[B, joined C, H, W] of `joined` nodes behind one another."""
        batch, channels, *size = self.outer
        return (batch, joined * channels, *size)


@dataclass(frozen=True)
class Frame:
    """The fixtures and the cells of one network; `affine` and `pool_bn` are what its operations are built with."""

    fixtures: tuple[Fixture, ...]
    sites: tuple[Site, ...]
    affine: bool
    pool_bn: bool


# Called as (shape, joined, **arguments): the shape [B, C, H, W] of what the network reads, the number of states that
# the output of each kind of cell joins, and all keyword arguments of the discrete network, of which it names what it
# reads and takes the others as `**_`.
FrameOf: TypeAlias = Callable[..., Frame]


def halved(size: tuple[int, ...]) -> tuple[int, ...]:
    """(H, W) behind stride 2: rounded up."""
    return tuple(-(-length // 2) for length in size)


def head(shape: Shape, num_classes: int, global_pool: str, drop_rate: float) -> Fixture:
    """Pooling and classifier behind a last map of `shape` [B, C, H, W]."""
    make = partial(_Head, shape[1], num_classes, global_pool, drop_rate)
    return Fixture(f"head {global_pool or 'none'} to {num_classes}", shape, make)


class _Head(CellClassifier):
    """Pooling and classifier alone."""

    def __init__(self, features: int, num_classes: int, global_pool: str, drop_rate: float) -> None:
        super().__init__(num_classes, global_pool, drop_rate)
        self.num_features = features
        self.classifier = self.make_head()

    def forward_features(self, x: Tensor) -> Tensor:
        return x
