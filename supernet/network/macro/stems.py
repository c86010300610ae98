"""Stems of the DARTS networks (arXiv:1806.09055, and the authors' code).

cifar     conv3x3 to `multiplier` C, BN; both inputs of the first cell
imagenet  stem0 = [conv3x3 s2 to C/2, BN, ReLU, conv3x3 s2 to C, BN], stem1 = [ReLU, conv3x3 s2, BN];
          the first cell reads stem0 and stem1, so its first input is twice as large
"""

from torch import Tensor, nn

from ...errors import SupernetError, unknown

__all__ = ["CifarStem", "ImageNetStem", "make_stem"]


def _conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(c_out)]


class CifarStem(nn.Module):
    """One convolution at full resolution."""

    reduction_prev = False
    stride = 1

    def __init__(self, in_chans: int, channels: int, multiplier: int) -> None:
        super().__init__()
        self.out_channels = (multiplier * channels, multiplier * channels)
        self.stem = nn.Sequential(*_conv(in_chans, multiplier * channels, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both inputs of the first cell, [B, M * C, H, W] of images [B, in_chans, H, W]; M is the stem's multiplier."""
        s = self.stem(x)
        return s, s


class ImageNetStem(nn.Module):
    """Three convolutions of stride 2."""

    reduction_prev = True
    stride = 8

    def __init__(self, in_chans: int, channels: int, multiplier: int) -> None:
        super().__init__()
        self.out_channels = (channels, channels)
        half = channels // 2
        self.stem0 = nn.Sequential(*_conv(in_chans, half, 2), nn.ReLU(inplace=True), *_conv(half, channels, 2))
        self.stem1 = nn.Sequential(nn.ReLU(inplace=False), *_conv(channels, channels, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H / 4, W / 4] and [B, C, H / 8, W / 8] of images [B, in_chans, H, W]."""
        s0 = self.stem0(x)
        return s0, self.stem1(s0)


_STEMS: dict[str, type[CifarStem] | type[ImageNetStem]] = {"cifar": CifarStem, "imagenet": ImageNetStem}


def make_stem(name: str, in_chans: int, channels: int, multiplier: int) -> CifarStem | ImageNetStem:
    """The stem `name`: "cifar" or "imagenet"."""
    if name not in _STEMS:
        raise SupernetError(unknown("stem", name, _STEMS))
    if channels < 1 or in_chans < 1:
        raise SupernetError(f"network channels={channels} and in_chans={in_chans} must both be 1 or more")
    if name == "imagenet" and channels < 2:
        raise SupernetError(f"the imagenet stem needs channels of 2 or more, not {channels}")
    return _STEMS[name](in_chans, channels, multiplier)
