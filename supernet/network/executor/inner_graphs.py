"""Graphs of stock operations inside a function of autograd, which goes back through them by itself."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["edge_of", "go_back", "keeps_graph"]


def keeps_graph() -> bool:
    """Whether the backward that is running keeps its graph for another one (`retain_graph`)."""
    return torch._C._autograd._get_current_graph_task_keep_graph()


def edge_of(x: Tensor) -> Any:
    """Where the way back from `x` begins, without holding `x` itself; None where it has no gradient."""
    return torch.autograd.graph.get_gradient_edge(x) if x.requires_grad else None


def go_back(edges: Sequence[Any], gradients: Sequence[Tensor], to: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """The gradients of `to`, of outputs whose edges and gradients are given; None where nothing leads there."""
    pairs = [(edge, gradient) for edge, gradient in zip(edges, gradients, strict=True) if edge is not None]
    if not pairs:
        return [None] * len(to)
    outputs, given = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, to, given, retain_graph=keeps_graph(), allow_unused=True)
