"""Norm over undecided channels, or of an undecided kind.

Batch norm shares one scale, shift and set of running statistics by their first channels: a channel's batch statistics
are the same at every width, so training is exact, and a mixture is one norm whose channels are weighed. The running
statistics of a shared network are those of whatever ran, not of one width: before a part of it is measured they are
taken anew (`supernet.recalibrate`), which is right for every width and for all decisions in front of the norm as well.
Layer and group norms depend on how many channels there are, so their outputs are summed.
"""
# B batch, C channels, H height, W width

from collections.abc import Mapping, Sequence
from math import gcd

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import SupernetError, unknown
from ..value import Arg
from .elastic import Elastic, Running, Setting, pad_channels, shrunk

__all__ = ["Norm"]

KINDS = ("batch", "layer", "group", "none")
GROUPS = 8  # of a group norm, or the largest common divisor with its channels
EPS: Mapping[str, float] = {"batch": 1e-5, "layer": 1e-6, "group": 1e-5}  # torch's, and timm's for layer norms


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of [B, C, H, W], at each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H, W]."""
        x = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Norm(Elastic):
    """Normalises `channels` along `axis`: 1 for images [B, C, H, W], -1 for tokens [B, N, C], without batch norms."""

    reads = "channels"

    def __init__(self, channels: Arg, kind: Arg = "batch", *, axis: int = 1, affine: bool = True) -> None:
        if axis not in (1, -1):
            raise SupernetError(f"Norm: axis={axis!r:.40} must be 1 (images) or -1 (tokens)")
        super().__init__(channels=channels, kind=kind)
        self.axis, self.affine = axis, affine
        self.require_whole("channels")
        kinds = list(dict.fromkeys(setting["kind"] for setting in self.settings))
        for name in kinds:
            if name not in KINDS:
                raise SupernetError(unknown("kind of Norm", name, KINDS))
            if axis == -1 and name in ("batch", "group"):
                raise SupernetError(f"Norm: kind={name!r} is for images (axis=1); tokens take 'layer' or 'none'")
        widest = self.most("channels")
        self.norms = nn.ModuleDict({k: self._new(widest, k) for k in kinds if k != "none"})

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], or [B, N, C] for axis=-1, to the same shape."""
        if self.axis == 1 and x.dim() != 4:
            raise SupernetError(f"Norm: axis=1 is for images [B, C, H, W], not {tuple(x.shape)}; tokens take axis=-1")
        return super().forward(x)

    def one(self, x: Tensor, setting: Setting) -> Tensor:
        """[B, C, H, W] or [B, N, C] to the same with the setting's channels."""
        width, kind = setting["channels"], setting["kind"]
        x = shrunk(x, width, self.axis)
        if kind == "none":
            return x
        norm = self.norms[kind]
        weight, bias = (_first(getattr(norm, name), width) for name in ("weight", "bias"))
        if isinstance(norm, _BatchNorm):
            return _batch_norm(x, norm, weight, bias)
        if isinstance(norm, nn.GroupNorm):
            return F.group_norm(x, gcd(GROUPS, width), weight, bias, norm.eps)
        assert isinstance(norm, nn.LayerNorm)
        if self.axis == -1:
            return F.layer_norm(x, (width,), weight, bias, norm.eps)
        return F.layer_norm(x.permute(0, 2, 3, 1), (width,), weight, bias, norm.eps).permute(0, 3, 1, 2)

    def mixed(self, x: Tensor, running: Sequence[Running]) -> Tensor:
        """[B, C, H, W] or [B, N, C] to the most channels that run.

        Batch norms of several widths are one, whose channels are weighed by the widths that have them.
        """
        batch = [r for r in running if r.values["kind"] == "batch"]
        outputs = [r.weigh(self.one(x, r.values)) for r in running if r.values["kind"] != "batch"]
        if batch:
            widest = max(batch, key=lambda r: r.values["channels"]).values
            y = self.one(x, widest)
            shares = [pad_channels(r.weigh(y.new_ones(r.values["channels"])), y.shape[1], -1) for r in batch]
            outputs.append(y * sum(shares[1:], shares[0])[:, None, None])
        return self.total(outputs)

    def stock(self, setting: Setting) -> nn.Module:
        return self._new(setting["channels"], setting["kind"])

    def copy_to(self, layer: nn.Module, setting: Setting) -> None:
        if setting["kind"] == "none":
            return
        own = self.norms[setting["kind"]]
        for name in ("eps", "momentum"):  # a layer norm has no momentum
            setattr(layer, name, getattr(own, name, None))
        shared = own.state_dict()
        for name, value in layer.state_dict().items():
            value.copy_(shared[name] if value.dim() == 0 else shared[name][: len(value)])

    def _new(self, channels: int, kind: str) -> nn.Module:
        if kind == "batch":
            return nn.BatchNorm2d(channels, affine=self.affine)
        if kind == "layer":
            make = nn.LayerNorm if self.axis == -1 else ChannelNorm
            return make(channels, eps=EPS["layer"], elementwise_affine=self.affine)
        if kind == "group":
            return nn.GroupNorm(gcd(GROUPS, channels), channels, affine=self.affine)
        return nn.Identity()


def _first(parameter: Tensor | None, width: int) -> Tensor | None:
    return None if parameter is None else parameter[:width]


def _batch_norm(x: Tensor, norm: _BatchNorm, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """What torch's BatchNorm2d does, on the first channels of its buffers."""
    width = x.shape[1]
    use_batch = norm.training or norm.running_mean is None
    updates = norm.training and norm.track_running_stats and norm.running_mean is not None
    momentum = 0.0
    if updates and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        momentum = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    keep = updates or not norm.training
    mean = norm.running_mean[:width] if keep and norm.running_mean is not None else None
    var = norm.running_var[:width] if keep and norm.running_var is not None else None
    return F.batch_norm(x, mean, var, weight, bias, use_batch, momentum, norm.eps)
