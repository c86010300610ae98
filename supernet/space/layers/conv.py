"""Convolution with undecided channels, kernel, stride or dilation.

Kernels share one weight by their centres, channels by their first ones, and a mixture is one convolution. Strides and
dilations are mixed by their outputs; where strides differ, larger outputs are averaged down to the smallest.
"""
# B batch, C channels, H height, W width

from collections.abc import Hashable

from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import SupernetError
from ...ops.channels_last import picked_pixels, unsafe_in_channels_last
from ..value import Arg, choices_of
from .elastic import Setting, shrunk
from .superposed import Superposed

__all__ = ["Conv2d"]


class Conv2d(Superposed):
    """[B, in_channels, H, W] to [B, out_channels, H', W']; any argument may be a choice but padding and bias.

    `padding` None keeps the size at stride 1; a number serves kernels that are decided. `groups` is a number, or the
    same choice as `in_channels` for a depthwise convolution. Kernels among which is chosen must be odd.
    """

    reads = "in_channels"

    def __init__(
        self,
        in_channels: Arg,
        out_channels: Arg,
        kernel_size: Arg,
        stride: Arg = 1,
        padding: int | None = None,
        dilation: Arg = 1,
        groups: Arg = 1,
        bias: bool = True,
        *,
        sharing: str = "entangled",
        init: Arg = "default",
    ) -> None:
        if padding is not None and (choices_of(kernel_size) or choices_of(dilation)):
            raise SupernetError(f"Conv2d: padding={padding!r:.40} with an undecided kernel or dilation; leave it out")
        self.padding = padding
        super().__init__(
            bias=bias,
            sharing=sharing,
            init=init,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=kernel_size,
            stride=stride,
            dilation=dilation,
            groups=groups,
        )
        self._check()

    def _check(self) -> None:
        kernels = {setting["kernel_size"] for setting in self.settings}
        if len(kernels) > 1 and any(k % 2 == 0 for k in kernels):
            raise SupernetError(f"Conv2d: kernels {sorted(kernels)} must be odd, so that their centres agree")
        self._depthwise = all(s["groups"] == s["in_channels"] for s in self.settings) and self.most("groups") > 1
        widths = {(s["in_channels"], s["out_channels"]) for s in self.settings}
        for setting in self.settings:
            c_in, c_out, groups = (setting[key] for key in ("in_channels", "out_channels", "groups"))
            if c_in % groups or c_out % groups:
                raise SupernetError(f"Conv2d: groups={groups} must divide in_channels={c_in} and out_channels={c_out}")
            if len(widths) > 1 and groups not in (1, c_in):
                raise SupernetError(
                    f"Conv2d: groups={groups} with undecided channels; give 1, or the choice of in_channels (depthwise)"
                )

    def shape(self, setting: Setting) -> tuple[int, ...]:
        k = setting["kernel_size"]
        return setting["out_channels"], setting["in_channels"] // setting["groups"], k, k

    def apart(self, setting: Setting) -> Hashable:
        groups = setting["out_channels"] // setting["groups"] if self._depthwise else setting["groups"]
        return setting["stride"], setting["dilation"], groups

    def apply_weight(self, x: Tensor, weight: Tensor, bias: Tensor | None, setting: Setting) -> Tensor:
        """`x` [B, C, H, W], `weight` [C_out, C_in / groups, k, k] and `bias` [C_out] to [B, C_out, H', W']."""
        groups = setting["groups"]
        if self._depthwise:  # as many groups as the widest that runs has channels
            groups = weight.shape[0] // (setting["out_channels"] // groups)
        x = shrunk(x, weight.shape[1] * groups, 1)
        dilation, stride = setting["dilation"], setting["stride"]
        pad = self._pad(weight.shape[-1], dilation)
        if x.is_cpu and unsafe_in_channels_last(weight, (stride,)):
            x, stride, pad = picked_pixels(F.pad(x, (pad, pad, pad, pad)) if pad else x, (stride, stride)), 1, 0
        return F.conv2d(x, weight, bias, stride, pad, dilation, groups)

    def _pad(self, kernel: int, dilation: int) -> int:
        return dilation * (kernel - 1) // 2 if self.padding is None else self.padding

    def stock_layer(self, setting: Setting) -> nn.Module:
        own = {key: value for key, value in setting.items() if key != "init"}
        pad = self._pad(setting["kernel_size"], setting["dilation"])
        return nn.Conv2d(**own, padding=pad, bias=self.has_bias)
