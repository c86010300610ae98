"""What timm expects of an image classifier, for networks that are a stem, stages of cells and a linear head.

The names are timm's (https://huggingface.co/docs/timm/feature_extraction): forward_features, forward_head,
get_classifier, reset_classifier, num_features, feature_info, forward_intermediates, prune_intermediate_layers,
set_grad_checkpointing, group_matcher.
"""
# B batch, C channels, H height, W width

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath, SelectAdaptivePool2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import SupernetError, unknown

__all__ = ["CellClassifier", "drop_path", "linear_head"]


POOLS = ("avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax", "")


def linear_head(features: int, num_classes: int) -> nn.Linear:
    """The relaxed networks' classifier; raises SupernetError for fewer than one class."""
    if num_classes < 1:
        raise SupernetError(f"num_classes={num_classes} must be 1 or more")
    return nn.Linear(features, num_classes)


def drop_path(rate: float) -> Callable[[], DropPath]:
    """Makes drop-path layers of `rate` in [0, 1)."""
    if not 0 <= rate < 1:
        raise SupernetError(f"drop_path_rate={rate} must lie in [0, 1)")
    return partial(DropPath, rate)


class CellClassifier(nn.Module):
    """Base of the discrete networks: subclasses build `self.cells`, `self.classifier` and write `forward_features`."""

    num_features: int
    num_classes: int
    cells: nn.ModuleList
    classifier: nn.Module
    last: nn.Module  # behind the cells, where the macro structure has something there
    auxiliary: Any  # a second head, or None, where the macro structure knows one
    feature_info: list[dict[str, Any]]

    def __init__(self, num_classes: int, global_pool: str = "avg", drop_rate: float = 0.0) -> None:
        super().__init__()
        if num_classes < 0 or not 0 <= drop_rate < 1:
            raise SupernetError(f"num_classes={num_classes} must be 0 or more and drop_rate={drop_rate} lie in [0, 1)")
        self.num_classes = num_classes
        self.grad_checkpointing = False
        self.global_pool = _make_pool(global_pool, num_classes)
        self.head_drop = nn.Dropout(drop_rate)

    @property
    def head_hidden_size(self) -> int:
        """Features that enter the classifier."""
        return self.num_features

    def make_head(self) -> nn.Module:
        """The linear classifier, or the identity for num_classes=0."""
        pooled = self.num_features * self.global_pool.feat_mult()
        return nn.Linear(pooled, self.num_classes) if self.num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """[B, in_chans, H, W] to the last feature map [B, num_features, H', W']."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """[B, num_features, H', W'] to logits [B, num_classes], or to pooled features for `pre_logits`."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Any:
        return self.forward_head(self.forward_features(x))

    def run_cell(self, cell: nn.Module, *states: Tensor) -> Tensor:
        """The cell's output; with gradient checkpointing its inside is computed again in the backward."""
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(cell, *states, use_reentrant=False)
        return cell(*states)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer, and the pooling where given; an auxiliary head gets as many classes."""
        if global_pool is not None:
            self.global_pool = _make_pool(global_pool, num_classes)
        self.num_classes = num_classes
        like = next(self.parameters())  # the new layers belong on the device of the others
        self.classifier = self.make_head().to(like)
        auxiliary = getattr(self, "auxiliary", None)
        if auxiliary is not None and num_classes:
            auxiliary.classifier = nn.Linear(auxiliary.classifier.in_features, num_classes).to(like)
        elif auxiliary is not None:
            self.auxiliary = None

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the cells' outputs in the forward, for less memory and more time."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups by depth, for layer-wise learning-rate decay."""
        cells: list[tuple[str, tuple[int, ...] | None]] = [(r"^cells\.(\d+)", None)]
        if coarse:  # the cells of one resolution together
            ends = [self._end(level) for level in range(len(self.feature_info))]
            stages = [range(*span) for span in zip([0, *ends], [*ends, len(self.cells)], strict=True)]
            cells = [(rf"^cells\.(?:{'|'.join(map(str, s))})\.", (i,)) for i, s in enumerate(stages) if s]
        # 99999 is timm's number for "with the group before"; the heads match nothing and make the last group.
        return {"stem": r"^stem", "blocks": [*cells, (r"^last", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Parameters that never decay: none beyond what the optimiser's factory leaves out."""
        return set()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """(last feature map, list of maps), or the list alone: the last map of each resolution in `feature_info`.

        `indices` chooses resolutions: None all, a number the last ones, a list those. `norm` gives the last map behind
        the closing norm, where there is one. `stop_early` is timm's and changes no result; every cell runs.
        """
        if output_fmt != "NCHW":
            raise SupernetError(f"output_fmt={output_fmt!r} must be 'NCHW'")
        levels, maps = self._levels(indices), {}

        def keep(level: int) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
                maps[level] = output

            return hook

        handles = [self.cells[self._end(i) - 1].register_forward_hook(keep(i)) for i in levels]
        try:
            x = self.forward_features(x)
        finally:
            for handle in handles:
                handle.remove()
        if norm and len(self.feature_info) - 1 in maps:
            maps[len(self.feature_info) - 1] = x
        found = [maps[level] for level in levels]
        return found if intermediates_only else (x, found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes what the maps `indices` do not need; returns the numbers of their resolutions."""
        levels = self._levels(indices)
        end = max(map(self._end, levels))
        if hasattr(self, "last") and (prune_norm or end < len(self.cells)):
            self.last = nn.Identity()  # its channels are those of the last resolution
        self.cells = self.cells[:end]
        if prune_head:
            self.reset_classifier(0, "")
        return levels

    def _end(self, level: int) -> int:
        """The number of cells up to and with the last one of a resolution."""
        return int(str(self.feature_info[level]["module"]).split(".")[1]) + 1

    def _levels(self, indices: int | Sequence[int] | None) -> list[int]:
        count = len(self.feature_info)
        if indices is None or isinstance(indices, int):
            indices = range(-(count if indices is None else indices), 0)
        if not indices or not all(-count <= i < count for i in indices):
            raise SupernetError(f"feature indices {list(indices)} must lie in {-count}..{count - 1}, at least one")
        return [i % count for i in indices]

    def set_drop_path(self, rate: float) -> None:
        """Probability in [0, 1) that a sample skips an operation, in every cell."""
        for module in self.modules():
            if isinstance(module, DropPath):
                module.drop_prob = rate


def _make_pool(name: str, num_classes: int) -> SelectAdaptivePool2d:
    """[B, C, H, W] to [B, C] (twice as many channels for "catavgmax"); "" leaves the map as it is."""
    if name not in POOLS:
        raise SupernetError(unknown("global_pool", name, (pool for pool in POOLS if pool)))
    if not name and num_classes:
        raise SupernetError(
            f"global_pool='' leaves a map, which no classifier reads: num_classes={num_classes} must be 0"
        )
    return SelectAdaptivePool2d(pool_type=name, flatten=bool(name))
