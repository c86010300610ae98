"""Weights for another number of classes, in a network without timm's functions for that."""

from collections.abc import Mapping

from torch import Tensor, nn

__all__ = ["fit_head"]


def fit_head(state: Mapping[str, Tensor], model: nn.Module, stored: int | None) -> dict[str, Tensor]:
    """`state`, of any shapes, with the last layer as `model` drew it where `state` is of `stored` classes, not its own.

    The last layer's tensors are those whose first axis is the classes and whose other axes agree.
    """
    own, classes = model.state_dict(), getattr(model, "num_classes", None)
    fits = dict(state)
    for name, value in state.items():
        mine = own.get(name)
        if mine is None or mine.shape == value.shape or not value.dim():
            continue
        of_classes = value.shape[0] == stored and (classes is None or mine.shape[:1] == (classes,))
        if of_classes and mine.shape[1:] == value.shape[1:]:
            fits[name] = mine
    return fits
