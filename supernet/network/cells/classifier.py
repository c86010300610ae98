"""The classifiers made of cells: what timm expects of an image classifier, and a second head where there is one."""

from typing import Any

from torch import Tensor, nn

from ...errors import SupernetError
from ...space.zoo.timm_interface import Classifier, drop_path
from .checkpointing import checkpointed

__all__ = ["CellClassifier", "Classifier", "drop_path", "linear_head"]


def linear_head(features: int, num_classes: int) -> nn.Linear:
    """The relaxed networks' classifier; raises SupernetError for fewer than one class."""
    if num_classes < 1:
        raise SupernetError(f"num_classes={num_classes} must be 1 or more")
    return nn.Linear(features, num_classes)


class CellClassifier(Classifier):
    """Base of the discrete networks: subclasses build `self.cells`, `self.classifier` and write `forward_features`."""

    trunk = "cells"
    block_pattern = r"^cells\.(\d+)"
    cells: nn.ModuleList
    auxiliary: Any  # a second head, or None, where the macro structure knows one

    def run_cell(self, cell: nn.Module, *states: Tensor) -> Tensor:
        """The cell's output [B, n * C, H, W] of states [B, ...], with gradient checkpointing where that is on."""
        return checkpointed(cell, cell, *states) if self.grad_checkpointing else cell(*states)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer, and the pooling where given; an auxiliary head gets as many classes."""
        super().reset_classifier(num_classes, global_pool)
        auxiliary = getattr(self, "auxiliary", None)
        if auxiliary is not None and num_classes:
            like = next(self.parameters())
            auxiliary.classifier = nn.Linear(auxiliary.classifier.in_features, num_classes).to(like)
        elif auxiliary is not None:
            self.auxiliary = None
