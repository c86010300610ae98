"""Layers that are linear in their weights: a mixture of them is one layer with mixed weights.

    sum_v P(v) pad(layer(x; W_v)) = layer(x; sum_v P(v) pad(W_v))

sharing="entangled" (weight entanglement, https://arxiv.org/abs/2107.00651; superposed, https://arxiv.org/abs/2312.10440):
each W_v is a slice of one weight, the first channels and the centre of the kernel, so that the mixed weight is that
weight times sum_v P(v) [inside slice v]. sharing="independent": each W_v is a weight of its own. `init` names how the
weights start; undecided, each way of starting has a weight.
"""
# V joint values; a weight's axes are [out, in, ...]

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SupernetError, unknown
from ..value import Arg
from .elastic import Elastic, Running, Setting

__all__ = ["INITS", "Superposed"]

INITS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "kaiming_normal": partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    "kaiming_uniform": partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    "xavier_normal": nn.init.xavier_normal_,
    "xavier_uniform": nn.init.xavier_uniform_,
    "orthogonal": nn.init.orthogonal_,
    "trunc_normal": partial(nn.init.trunc_normal_, std=0.02),
    "zeros": nn.init.zeros_,
}
SHARINGS = ("entangled", "independent")


class Superposed(Elastic):
    """Subclasses give the `shape` of one weight, `apply_weight` and `stock_layer`."""

    def __init__(self, *, bias: bool, sharing: str, init: Arg, **arguments: Arg) -> None:
        super().__init__(**arguments, init=init)
        self.require_whole(*arguments)
        if sharing not in SHARINGS:
            raise SupernetError(unknown("sharing", sharing, SHARINGS))
        for setting in self.settings:
            if setting["init"] != "default" and setting["init"] not in INITS:
                raise SupernetError(unknown("init", setting["init"], ("default", *INITS)))
        self.sharing, self.has_bias = sharing, bias
        self._banks: dict[Hashable, int] = {}
        for setting in self.settings:
            self._banks.setdefault(self._bank(setting), len(self._banks))
        for key, number in self._banks.items():
            self._add_bank(number, [s for s in self.settings if self._bank(s) == key])

    def shape(self, setting: Setting) -> tuple[int, ...]:
        """The shape of the weight under these values."""
        raise NotImplementedError

    def apply_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None, setting: Setting) -> Tensor:
        """The layer with this `weight` [C_out, C_in, ...] and `bias` [C_out], for `x` [B, C_in, H, W] or [..., C_in].

        Of `setting` only what is no size of the weight is read.
        """
        raise NotImplementedError

    def stock_layer(self, setting: Setting) -> nn.Module:
        """torch's own layer with these values."""
        raise NotImplementedError

    def _bank(self, setting: Setting) -> Hashable:
        return setting["init"], self.shape(setting) if self.sharing == "independent" else None

    def _add_bank(self, number: int, settings: Sequence[Setting]) -> None:
        """One weight, as large as the largest of its settings, drawn as torch's own layer would draw it."""
        shape = tuple(map(max, zip(*(self.shape(s) for s in settings), strict=True)))
        weight = nn.Parameter(torch.empty(shape))
        _initialise(weight, settings[0]["init"])
        suffix = f"_{number}" if number else ""
        self.register_parameter(f"weight{suffix}", weight)
        bound = (weight[0].numel() or 1) ** -0.5
        bias = nn.Parameter(torch.empty(shape[0]).uniform_(-bound, bound)) if self.has_bias else None
        self.register_parameter(f"bias{suffix}", bias)

    def bank(self, setting: Setting) -> tuple[Tensor, Tensor | None]:
        """The shared weight [C_out, C_in, ...] and bias [C_out] that a setting takes its slice of."""
        number = self._banks[self._bank(setting)]
        suffix = f"_{number}" if number else ""
        return getattr(self, f"weight{suffix}"), getattr(self, f"bias{suffix}")

    def sliced(self, setting: Setting) -> tuple[Tensor, Tensor | None]:
        """The weight, of `self.shape(setting)`, and bias [C_out] of one setting, as views."""
        weight, bias = self.bank(setting)
        shape = self.shape(setting)
        return weight[_box(weight.shape, shape)], bias if bias is None else bias[: shape[0]]

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """[B, C_in, H, W] to [B, C_out, H', W'], or [..., C_in] to [..., C_out]."""
        return self.apply_weight(x, *self.sliced(setting), setting)

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        """As `one`, to the most channels [..., C_out, ...]; a layer for each group that differs in weights alone."""
        groups: dict[Hashable, list[Running]] = {}
        for r in running:
            groups.setdefault(self.apart(r.values), []).append(r)
        outputs = []
        for members in groups.values():
            weight, bias, setting = self.superposed(members)
            outputs.append(self.apply_weight(x, weight, bias, setting))
        return outputs[0] if len(outputs) == 1 else self.total(outputs)

    def apart(self, setting: Setting) -> Hashable:
        """Equal for settings that one layer with mixed weights serves."""
        return None

    def superposed(self, running: Sequence[Running]) -> tuple[Tensor, Tensor | None, Setting]:
        """(sum_v P(v) pad(W_v) [C_out, C_in, ...], the same of the bias [C_out], the largest setting)"""
        shapes = [self.shape(r.values) for r in running]
        full = tuple(map(max, zip(*shapes, strict=True)))
        banks: dict[int, list[int]] = {}
        for v, r in enumerate(running):
            banks.setdefault(self._banks[self._bank(r.values)], []).append(v)
        weights, biases = [], []
        for members in banks.values():
            weight, bias = self.bank(running[members[0]].values)
            shape = tuple(map(max, zip(*(shapes[v] for v in members), strict=True)))
            p = torch.stack([_as_tensor(running[v].p, weight) for v in members])
            inside = [_inside(shape, axis, [shapes[v] for v in members], weight) for axis in range(len(shape))]
            part = weight[_box(weight.shape, shape)] * _boxes(p, inside)
            weights.append(_padded(part, full))
            if bias is not None:
                biases.append(F.pad(bias[: shape[0]] * (p @ inside[0]), [0, full[0] - shape[0]]))
        largest = max((r.values for r in running), key=lambda s: self.shape(s)[2:] or (0,))
        return sum(weights[1:], weights[0]), sum(biases[1:], biases[0]) if biases else None, largest

    def stock(self, setting: Setting) -> nn.Module:
        layer = self.stock_layer(setting)
        if setting["init"] != "default":
            _initialise(layer.get_parameter("weight"), setting["init"])
        return layer

    def copy_to(self, layer: nn.Module, setting: Setting) -> None:
        weight, bias = self.sliced(setting)
        layer.get_parameter("weight").copy_(weight)
        if bias is not None:
            layer.get_parameter("bias").copy_(bias)


@torch.no_grad()
def _initialise(weight: Tensor, init: str) -> None:
    if init == "default":
        nn.init.kaiming_uniform_(weight, a=5**0.5)  # torch's own, for linear layers and convolutions
    else:
        INITS[init](weight)


def _span(whole: int, part: int, axis: int) -> slice:
    """Where a smaller weight lies along an axis: first channels, the centre of a kernel."""
    start = (whole - part) // 2 if axis >= 2 else 0
    return slice(start, start + part)


def _box(whole: Sequence[int], part: Sequence[int]) -> tuple[slice, ...]:
    return tuple(_span(w, p, axis) for axis, (w, p) in enumerate(zip(whole, part, strict=True)))


def _inside(shape: Sequence[int], axis: int, parts: Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """[V, n]: whether each place along `axis` lies in the slice of each joint value, as 0 or 1."""
    rows = torch.zeros(len(parts), shape[axis], dtype=like.dtype)
    for row, part in zip(rows, parts, strict=True):
        row[_span(shape[axis], part[axis], axis)] = 1
    return rows.to(like.device)


def _boxes(p: Tensor, inside: Sequence[Tensor]) -> Tensor:
    """sum_v p_v times the product over the axes of `inside`: [V] and a [V, n] an axis to the shape of the weight."""
    axes = "abcd"[: len(inside)]
    return torch.einsum(f"v,{','.join(f'v{a}' for a in axes)}->{axes}", p, *inside)


def _padded(weight: Tensor, full: Sequence[int]) -> Tensor:
    pads: list[int] = []
    for axis in reversed(range(weight.dim())):
        missing = full[axis] - weight.shape[axis]
        before = missing // 2 if axis >= 2 else 0
        pads += [before, missing - before]
    return F.pad(weight, pads) if any(pads) else weight


def _as_tensor(p: Tensor | None, like: Tensor) -> Tensor:
    return torch.ones((), dtype=like.dtype, device=like.device) if p is None else p.to(like.dtype)
