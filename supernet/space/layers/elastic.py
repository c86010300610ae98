"""The base of layers whose arguments may be choices.

    output(x) = sum_v P(v) pad(layer_v(x)),    P(v) = prod_c p_c(v_c)

over the joint values v of the layer's own choices, where layer_v reads as many of the first channels of x as it takes,
and pad puts zeros behind its channels up to the widest that runs. Linear layers compute it as one layer with the
weights sum_v P(v) pad(W_v), which is equal; others sum outputs. Where each choice runs one option, only its slice runs.
"""
# B batch, C channels, H height, W width, V joint values

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import prod
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SupernetError
from ..choice_base import Undecided
from ..value import Arg, Derived, ValueChoice, choices_of, value_of

__all__ = ["Elastic", "Running", "Setting", "shrunk"]

MOST_SETTINGS = 4096  # joint values of one layer; more is a slip, and would be summed one by one

Setting = Mapping[str, Any]  # argument -> its value


@dataclass(frozen=True)
class Running:
    """One joint value that runs: the arguments' values and its probability, a scalar, None for 1."""

    values: Setting
    p: Tensor | None

    def weigh(self, y: Tensor) -> Tensor:
        """The output `y` [...] times the probability: [...]."""
        return y if self.p is None else self.p * y


class Elastic(nn.Module):
    """Subclasses write `one`, `stock`, `copy_to` where they have weights, and `mixed` where a faster form is equal.

    Raises SupernetError for more than 4,096 joint values.
    """

    axis = 1  # of the channels
    reads = ""  # the argument that is the number of channels of the input, where there is one

    def __init__(self, **arguments: Arg) -> None:
        super().__init__()
        for name, argument in arguments.items():
            if isinstance(argument, Undecided | Derived):
                self.add_module(name, argument)  # found with the network, and copied with it
        self.arguments = arguments
        self.choices = tuple(dict.fromkeys(c for argument in arguments.values() for c in choices_of(argument)))
        if prod(len(choice.names) for choice in self.choices) > MOST_SETTINGS:
            raise SupernetError(f"{type(self).__name__}: its arguments have over {MOST_SETTINGS} joint values")
        options = [[choice.default] if choice.mark == "fixed" else range(len(choice.names)) for choice in self.choices]
        self._settings = {
            combination: self._values(dict(zip(self.choices, combination, strict=True)))
            for combination in product(*options)
        }
        self.settings = tuple(self._settings.values())

    def setting(self, options: Sequence[int]) -> Setting:
        """The arguments' values when the layer's choices have taken these options, in their order."""
        return self._settings[tuple(options)]

    def _values(self, indices: Mapping[ValueChoice, int]) -> Setting:
        return {name: value_of(argument, indices) for name, argument in self.arguments.items()}

    def most(self, name: str) -> Any:
        """The largest value of the argument `name`."""
        return max(setting[name] for setting in self.settings)

    def running(self) -> list[Running]:
        """The joint values that run now."""
        running = []
        for combination in product(*(choice.running() for choice in self.choices)):
            weights = [weight for _, weight in combination if weight is not None]
            p = reduce(mul, weights) if weights else None
            running.append(Running(self.setting([option for option, _ in combination]), p))
        return running

    def forward(self, x: Tensor) -> Tensor:
        """The mixture of what runs: [B, C, H, W], or [B, N, C] where `axis` is -1, to what the layer gives."""
        running = self.running()
        if self.reads:
            self._check_width(x, max(r.values[self.reads] for r in running))
        if len(running) > 1:
            return self.mixed(x, running)
        return running[0].weigh(self.one(x, running[0].values))

    def _check_width(self, x: Tensor, width: int) -> None:
        """A wider input would be cut in silence, by choices that should be one and are not."""
        if x.shape[self.axis] != width:
            raise SupernetError(
                f"{type(self).__name__} takes {width} channels, but its input has {x.shape[self.axis]}: give it the "
                f"choice that decided them as {self.reads}"
            )

    def require_whole(self, *names: str, least: int = 1, most: int = 1_000_000) -> None:
        """Raises SupernetError where one of these arguments may be no whole number in least..most."""
        for name in names:
            for setting in self.settings:
                value = setting[name]
                if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                    raise SupernetError(
                        f"{type(self).__name__}: {name}={value!r:.40} must be a whole number in {least}..{most}"
                    )

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """The output of the layer that has these values, for `x` [B, C, H, W] or [B, N, C]."""
        raise NotImplementedError

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        """The weighted sum over several joint values, for `x` [B, C, H, W] or [B, N, C]."""
        return self.total([r.weigh(self.one(x, r.values)) for r in running])

    def total(self, outputs: Sequence[Tensor]) -> Tensor:
        """The sum of outputs [B, C_v, H_v, W_v] or [B, N, C_v]: [B, max C_v, min H_v, min W_v] or [B, N, max C_v].

        Narrower ones are padded with zeros; larger images are averaged down to the smallest.
        """
        if len({y.shape for y in outputs}) == 1:
            return sum(outputs[1:], outputs[0])
        width = max(y.shape[self.axis] for y in outputs)
        if self.axis == 1 and outputs[0].dim() == 4:
            height, width_of_image = min(tuple(y.shape[-2:]) for y in outputs)
            size = height, width_of_image
            outputs = [y if y.shape[-2:] == size else F.adaptive_avg_pool2d(y, size) for y in outputs]
        padded = [pad_channels(y, width, self.axis) for y in outputs]
        return sum(padded[1:], padded[0])

    def plain(self, indices: Mapping[ValueChoice, int], *, fresh: bool) -> nn.Module:
        """The stock layer of a decision; it has copies of the shared weights, or `fresh` ones of its own."""
        setting = self._values(indices)
        layer = self.stock(setting)
        own = next((t for t in (*self.parameters(), *self.buffers()) if t.is_floating_point()), None)
        if not fresh and own is not None:
            layer.to(own)  # before the copy, which would round to the type of a new layer
            with torch.no_grad():
                self.copy_to(layer, setting)
            learns = any(p.requires_grad for p in self.parameters())
            layer.requires_grad_(learns)  # what its user has frozen stays so
        return layer.train(self.training)

    def stock(self, setting: Setting) -> nn.Module:
        """A new layer of torch with these values."""
        raise NotImplementedError

    def copy_to(self, layer: nn.Module, setting: Setting) -> None:
        """Copy the slices of the shared weights that `layer` has."""
        raise NotImplementedError


def pad_channels(y: Tensor, width: int, axis: int) -> Tensor:
    """Zeros behind the channels of `y` [..., C, ...], which lie along `axis`, up to `width`: [..., width, ...]."""
    missing = width - y.shape[axis]
    behind = -axis - 1 if axis < 0 else y.dim() - axis - 1  # axes behind that of the channels
    return F.pad(y, [0, 0] * behind + [0, missing]) if missing else y


def shrunk(x: Tensor, width: int, axis: int) -> Tensor:
    """The first `width` channels of `x` [..., C, ...], which lie along `axis`: [..., width, ...]."""
    return x.narrow(axis, 0, width)
