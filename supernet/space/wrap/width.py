"""Alternatives with fewer channels inside: a narrower hidden layer, and one layer as two thin ones.

width(r)       of a pair of layers, MLP or convolutions: the first r of the hidden channels, their weights copied
bottleneck(r)  of one layer W: two layers A B of rank r * min(m, n), the closest to W
"""
# I inputs, O outputs, R rank

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import SupernetError
from .convolution import convolution
from .low_rank import low_rank
from .marks import written

__all__ = ["bottleneck", "width"]

Layer = nn.Linear | nn.Conv2d


def width(ratio: float) -> Callable[[nn.Module], nn.Module]:
    """The module with `ratio` of its hidden channels, the first ones; 0 < ratio < 1.

    For modules with two nn.Linear, or two ungrouped nn.Conv2d, one behind the other: timm's Mlp, an nn.Sequential, the
    basic block of a ResNet. Batch and layer norms between them are cut too. Raises SupernetError for anything else.
    """
    _check("width", ratio, full=False)

    def adapt(module: nn.Module) -> nn.Module:
        first, between, last = _pair(module, f"width({ratio})")
        hidden = max(1, round(ratio * _outputs(first)))
        _cut(first, "weight", hidden)
        _cut(first, "bias", hidden)
        _cut(last, "weight", hidden, axis=1)
        kind = "features" if isinstance(first, nn.Linear) else "channels"
        setattr(first, f"out_{kind}", hidden)
        setattr(last, f"in_{kind}", hidden)
        for norm in between:
            for name in ("weight", "bias", "running_mean", "running_var"):
                _cut(norm, name, hidden)
            if isinstance(norm, nn.LayerNorm):
                norm.normalized_shape = (hidden,)
            elif isinstance(norm, _BatchNorm):
                norm.num_features = hidden
        return module

    return written(adapt, width=ratio)


def bottleneck(ratio: float) -> Callable[[nn.Module], nn.Module]:
    """An nn.Linear or ungrouped nn.Conv2d as two layers, with rank `ratio` of the full one between; 0 < ratio <= 1.

    A convolution keeps its kernel and stride in the first, the second is pointwise. They start as the closest to the
    original, in the squares of the weights; with ratio = 1 that is the same function.
    """
    _check("bottleneck", ratio, full=True)

    def adapt(module: nn.Module) -> nn.Module:
        who = f"bottleneck({ratio})"
        layer = module if isinstance(module, nn.Linear) else convolution(module, who, "an nn.Linear or nn.Conv2d")
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            raise SupernetError(f"{who} takes an ungrouped convolution, not one of {layer.groups} groups")
        old, bias = layer.weight.detach(), layer.bias
        rank = max(1, round(ratio * min(old.flatten(1).shape)))
        left_OR, right_RI = low_rank(old.flatten(1), rank)
        second: Layer
        if isinstance(layer, nn.Linear):
            layer.out_features = rank
            second = nn.Linear(rank, len(old), bias=bias is not None)
        else:
            layer.out_channels = rank
            second = nn.Conv2d(rank, len(old), 1, bias=bias is not None)
        layer.weight = nn.Parameter(right_RI.reshape(rank, *old.shape[1:]))
        layer.register_parameter("bias", None)
        with torch.no_grad():
            second.weight.copy_(left_OR.reshape(second.weight.shape))
            if bias is not None and second.bias is not None:
                second.bias.copy_(bias)
        return nn.Sequential(layer, second)

    return written(adapt, bottleneck=ratio)


def _check(who: str, ratio: float, full: bool) -> None:
    number = isinstance(ratio, int | float) and not isinstance(ratio, bool)
    if not number or not (0 < ratio < 1 or (full and ratio == 1)):
        raise SupernetError(f"{who}({ratio!r}): the ratio is a number in (0, 1{']' if full else ')'}")


def _pair(module: nn.Module, who: str) -> tuple[Layer, list[nn.Module], Layer]:
    """The two layers around the hidden channels and the norms between them, in the order of registration."""
    holders = [m for m in module.modules() if m._parameters]
    at = [i for i, m in enumerate(holders) if isinstance(m, nn.Linear | nn.Conv2d)]
    layers = [m for m in holders if isinstance(m, nn.Linear | nn.Conv2d)]
    if len(layers) != 2:
        raise SupernetError(f"{who} takes a module with two nn.Linear or nn.Conv2d; this has {len(layers)}")
    first, last = layers
    hidden = _outputs(first)
    plain = all(layer.groups == 1 for layer in layers if isinstance(layer, nn.Conv2d))
    if type(first) is not type(last) or last.weight.shape[1] != hidden or not plain:
        raise SupernetError(f"{who}: the second layer must read what the first gives: {first} and {last}")
    between = holders[at[0] + 1 : at[1]]
    for norm in between:
        if not _has_size(norm, hidden):
            raise SupernetError(f"{who} cannot cut the {type(norm).__name__} between its two layers")
    return first, between, last


def _has_size(norm: nn.Module, hidden: int) -> bool:
    if isinstance(norm, nn.LayerNorm):
        return norm.normalized_shape == (hidden,)
    return isinstance(norm, _BatchNorm) and norm.num_features == hidden


def _outputs(layer: Layer) -> int:
    return int(layer.weight.shape[0])


def _cut(module: nn.Module, name: str, size: int, axis: int = 0) -> None:
    """Keep the first `size` entries of a parameter or buffer along `axis`; what the module does not have stays so."""
    old: Tensor | None = getattr(module, name, None)
    if old is None:
        return
    new = old.detach().narrow(axis, 0, size).clone()
    setattr(module, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
