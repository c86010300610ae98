"""Some samples of a source: what a split hands out and a loader reads."""

# N samples, C channels, H height, W width

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from .augment import Augment
from .sources import Indices, Source
from .wrapped import TransformSource

__all__ = ["View"]


@dataclass(frozen=True, eq=False)
class View:
    """Some samples of a source, by their numbers `index` there [N], with the augmentation of training."""

    source: Source
    index: Indices
    augment: Augment

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Indices | None:
        labels = self.source.labels
        return None if labels is None else labels[self.index]

    def subset(self, positions: Indices) -> "View":
        """The samples at these positions of this view."""
        return dataclasses.replace(self, index=self.index[positions])

    def shared(self, rank: int, world: int) -> "View":
        """Every world-th sample from number rank on; all of them where there are fewer than ranks."""
        return self if world == 1 or len(self) < world else dataclasses.replace(self, index=self.index[rank::world])

    def with_transform(self, transform: Callable[[Image.Image], Tensor]) -> "View":
        """The same samples, read for training through `transform` (PIL image to normalised tensor [C, H, W]).

        It replaces crop, flip and cutout. Its randomness is counted: Python's, numpy's and torch's generators are
        seeded around each sample and put back. Reading for evaluation stays as it was.
        """
        return dataclasses.replace(self, source=TransformSource(self.source, transform))
