"""What timm expects of an image classifier, for networks that are a stem, stages of cells and a linear head.

The names are timm's (https://huggingface.co/docs/timm/feature_extraction): forward_features, forward_head,
get_classifier, reset_classifier, num_features, feature_info, set_grad_checkpointing, group_matcher.
"""
# B batch, C channels, H height, W width

from typing import Any

import torch
from timm.layers import DropPath, SelectAdaptivePool2d
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import SupernetError

__all__ = ["CellClassifier"]


class CellClassifier(nn.Module):
    """Base of the discrete networks: subclasses build `self.cells`, `self.classifier` and write `forward_features`."""

    num_features: int
    num_classes: int
    cells: nn.ModuleList
    classifier: nn.Module
    feature_info: list[dict[str, Any]]

    def __init__(self, num_classes: int, global_pool: str = "avg", drop_rate: float = 0.0) -> None:
        super().__init__()
        if num_classes < 0 or not 0 <= drop_rate < 1:
            raise SupernetError(f"num_classes={num_classes} must be 0 or more and drop_rate={drop_rate} lie in [0, 1)")
        self.num_classes = num_classes
        self.grad_checkpointing = False
        self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=True)
        self.head_drop = nn.Dropout(drop_rate)

    @property
    def head_hidden_size(self) -> int:
        """Features that enter the classifier."""
        return self.num_features

    def make_head(self) -> nn.Module:
        """The linear classifier, or the identity for num_classes=0."""
        return nn.Linear(self.num_features, self.num_classes) if self.num_classes else nn.Identity()

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
            return checkpoint(cell, *states, use_reentrant=False)  # type: ignore[no-any-return]
        return cell(*states)  # type: ignore[no-any-return]

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer, and the pooling where given."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = SelectAdaptivePool2d(pool_type=global_pool, flatten=True)
        self.classifier = self.make_head()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the cells' outputs in the forward, for less memory and more time."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter groups by depth, for layer-wise learning-rate decay."""
        return {"stem": r"^stem", "blocks": [(r"^cells\.(\d+)", None), (r"^(classifier|auxiliary|last)", (99999,))]}

    def no_weight_decay(self) -> set[str]:
        """Parameters that never decay: none beyond what the optimiser's factory leaves out."""
        return set()

    def set_drop_path(self, rate: float) -> None:
        """Probability in [0, 1) that a sample skips an operation, in every cell."""
        for module in self.modules():
            if isinstance(module, DropPath):
                module.drop_prob = rate

