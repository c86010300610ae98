"""What timm expects of an image classifier, for networks that are a stem, blocks in a row and a linear head.

The names are timm's (https://huggingface.co/docs/timm/feature_extraction): forward_features, forward_head,
get_classifier, reset_classifier, num_features, feature_info, forward_intermediates, prune_intermediate_layers,
set_grad_checkpointing, group_matcher.
"""
# B batch, C channels, F features, H height, W width, K classes

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import SupernetError, unknown

if TYPE_CHECKING:
    from timm.layers import DropPath

__all__ = ["Classifier", "FeatureInfo", "Pool", "drop_path"]


POOLS = ("avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax", "")


def drop_path(rate: float) -> Callable[[], "DropPath"]:
    """Makes drop-path layers of `rate` in [0, 1)."""
    from timm.layers import DropPath  # timm imports torchvision and with it torch's compiler: 2 s of processor time

    if not 0 <= rate < 1:
        raise SupernetError(f"drop_path_rate={rate} must lie in [0, 1)")
    return partial(DropPath, rate)


class FeatureInfo(TypedDict):
    """The last map of one resolution: its channels, how much smaller than the image it is, and its block's name."""

    num_chs: int
    reduction: int
    module: str


class Pool(Protocol):
    """A pooling layer [B, C, H, W] -> [B, feat_mult * C], such as timm's."""

    def feat_mult(self) -> int:
        """How many times the channels of a map the pooled features are."""

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, feat_mult * C]."""


class Classifier(nn.Module):
    """Base of image classifiers: a subclass builds the modules named below and says what `feature_info` is.

    `trunk` is the name of the module that holds the blocks, `block_pattern` what names one block in the names of the
    parameters, for layer-wise learning rates.
    """

    trunk = "blocks"
    block_pattern = r"^blocks\.(\d+)"
    num_features: int
    num_classes: int
    stem: nn.Module
    last: nn.Module  # behind the blocks, where there is something
    classifier: nn.Module
    feature_info: list[FeatureInfo]

    def __init__(self, num_classes: int, global_pool: str = "avg", drop_rate: float = 0.0) -> None:
        super().__init__()
        if num_classes < 0 or not 0 <= drop_rate < 1:
            raise SupernetError(f"num_classes={num_classes} must be 0 or more and drop_rate={drop_rate} lie in [0, 1)")
        self.num_classes = num_classes
        self.grad_checkpointing = False
        self.global_pool = self.make_pool(global_pool, num_classes)
        self.head_drop = nn.Dropout(drop_rate)

    @property
    def head_hidden_size(self) -> int:
        """Features that enter the classifier."""
        return self.num_features

    def make_pool(self, name: str, num_classes: int) -> Pool:
        """A layer [B, C, H, W] to [B, C] (twice as many channels for "catavgmax"); "" leaves the map as it is."""
        if name not in POOLS:
            raise SupernetError(unknown("global_pool", name, (pool for pool in POOLS if pool)))
        if not name and num_classes:
            raise SupernetError(
                f"global_pool='' leaves a map, which no classifier reads: num_classes={num_classes} must be 0"
            )
        from timm.layers import SelectAdaptivePool2d  # late, as in drop_path

        return SelectAdaptivePool2d(pool_type=name, flatten=bool(name))

    def make_head(self) -> nn.Module:
        """The linear classifier, or the identity for num_classes=0."""
        pooled = self.num_features * self.global_pool.feat_mult()
        return nn.Linear(pooled, self.num_classes) if self.num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to the last feature map [B, F, H', W'], F = num_features."""
        x = self.stem(x)
        for block in self._blocks():
            x = self.run_block(block, x)
        return self.last(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """A map [B, F, H, W] to logits [B, K], K = num_classes, or to pooled features for `pre_logits`."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Images [B, C, H, W] to logits [B, K], K = num_classes; a second head adds its own in training."""
        return self.forward_head(self.forward_features(x))

    def run_block(self, block: nn.Module, *states: Tensor) -> Tensor:
        """The block's output [B, C, H, W] for its inputs; with gradient checkpointing its inside is computed twice."""
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, *states, use_reentrant=False)
        return block(*states)

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer, and the pooling where given."""
        if global_pool is not None:
            self.global_pool = self.make_pool(global_pool, num_classes)
        self.num_classes = num_classes
        like = next(self.parameters())  # the new layer belongs on the device of the others
        self.classifier = self.make_head().to(like)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the blocks' outputs in the forward, for less memory and more time."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Parameter groups by depth, for layer-wise learning-rate decay."""
        blocks: list[tuple[str, tuple[int, ...] | None]] = [(self.block_pattern, None)]
        if coarse:  # the blocks of one resolution together
            ends = [self._end(level) for level in range(len(self.feature_info))]
            stages = [range(*span) for span in zip([0, *ends], [*ends, len(self._blocks())], strict=True)]
            names = [rf"^{self.trunk}\.(?:{'|'.join(map(str, stage))})\." for stage in stages]
            blocks = [(name, (i,)) for i, (name, stage) in enumerate(zip(names, stages, strict=True)) if stage]
        # 99999 is timm's number for "with the group before"; the heads match nothing and make the last group.
        return {"stem": r"^stem", "blocks": [*blocks, (r"^last", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Parameters that never decay: none beyond what the optimiser's factory leaves out."""
        return set()

    def as_map(self, x: Tensor) -> Tensor:
        """A block's output as a map [B, C, H, W]; here it is one."""
        return x

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """(last feature map, list of maps [B, C, H, W]), or the list alone: the last map of each in `feature_info`.

        `indices` chooses resolutions: None all, a number the last ones, a list those. `norm` gives the last map behind
        the closing norm, where there is one. `stop_early` is timm's and changes no result; every block runs.
        """
        if output_fmt != "NCHW":
            raise SupernetError(f"output_fmt={output_fmt!r} must be 'NCHW'")
        levels = self._levels(indices)
        maps: dict[int, Tensor] = {}

        def keep(level: int) -> Callable[..., None]:
            def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
                maps[level] = self.as_map(output)

            return hook

        handles = [self._blocks()[self._end(i) - 1].register_forward_hook(keep(i)) for i in levels]
        try:
            x = self.forward_features(x)
        finally:
            for handle in handles:
                handle.remove()
        if norm and len(self.feature_info) - 1 in maps:
            maps[len(self.feature_info) - 1] = self.as_map(x)
        chosen = [maps[level] for level in levels]
        return chosen if intermediates_only else (x, chosen)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes what the maps `indices` do not need; returns the numbers of their resolutions."""
        levels = self._levels(indices)
        end = max(map(self._end, levels))
        if hasattr(self, "last") and (prune_norm or end < len(self._blocks())):
            self.last = nn.Identity()  # without it the last map has the channels of its resolution
        setattr(self, self.trunk, self._blocks()[:end])
        if prune_head:
            self.reset_classifier(0, "")
        return levels

    def _blocks(self) -> nn.ModuleList | nn.Sequential:
        blocks = self.get_submodule(self.trunk)
        assert isinstance(blocks, nn.ModuleList | nn.Sequential)
        return blocks

    def _end(self, level: int) -> int:
        """The number of blocks up to and with the last one of a resolution."""
        return int(str(self.feature_info[level]["module"]).split(".")[1]) + 1

    def _levels(self, indices: int | Sequence[int] | None) -> list[int]:
        count = len(self.feature_info)
        if indices is None or isinstance(indices, int):
            indices = range(-(count if indices is None else indices), 0)
        if not indices or not all(-count <= i < count for i in indices):
            raise SupernetError(f"feature indices {list(indices)} must lie in {-count}..{count - 1}, at least one")
        return [i % count for i in indices]

    def set_drop_path(self, rate: float) -> None:
        """Probability in [0, 1) that a sample skips a residual branch or an operation, in every block."""
        from timm.layers import DropPath  # late, as in drop_path

        for module in self.modules():
            if isinstance(module, DropPath):
                module.drop_prob = rate
