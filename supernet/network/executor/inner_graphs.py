"""Graphs of stock operations inside a function of autograd, which goes back through them by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

__all__ = ["InnerGraph", "keeps_graph"]


def keeps_graph() -> bool:
    """Whether the backward that is running keeps its graph for another one (`retain_graph`)."""
    return torch._C._autograd._get_current_graph_task_keep_graph()


@dataclass(frozen=True)
class InnerGraph:
    """The graph of one leaf and what stock operations make of it.

    It has the places where the way back from each output begins (None: the output has no gradient), and not the outputs
    themselves, which would stay in memory with it.
    """

    leaf: Tensor
    ends: tuple[GradientEdge | None, ...]

    @staticmethod
    def of(leaf: Tensor, outputs: Sequence[Tensor]) -> "InnerGraph":
        """The graph between `leaf` and `outputs`, tensors of any shapes."""
        return InnerGraph(leaf, tuple(get_gradient_edge(x) if x.requires_grad else None for x in outputs))

    def back(self, gradients: Sequence[Tensor], parameters: Sequence[Tensor] = ()) -> Sequence[Tensor | None]:
        """The gradient of the leaf, then of each parameter, each of the same shape; None where nothing leads there.

        `gradients` are those of the outputs, in their order and shapes.
        """
        inputs = [self.leaf, *parameters]
        pairs = [(end, g) for end, g in zip(self.ends, gradients, strict=True) if end is not None]
        if not pairs:
            return [None] * len(inputs)
        ends, upstream = zip(*pairs, strict=True)
        return torch.autograd.grad(ends, inputs, upstream, retain_graph=keeps_graph(), allow_unused=True)
