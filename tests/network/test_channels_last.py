"""Convolutions that a processor cannot run in channels_last: gradients are right, and the process stays alive.

In a process of its own: what goes wrong here is memory that is written over.
"""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from supernet.ops.channels_last import FEW_CHANNELS, to_channels_last, unsafe_in_channels_last

SIZES = (32, 56, 64, 65, 128)  # pixels a side
CHANNELS = (4, 12)


def strided(channels: int) -> nn.Module:
    """Strided 1x1 convolutions of three kinds: ours, stock as in a residual network, and with an undecided kernel."""
    from supernet.ops import operation

    return nn.Sequential(
        nn.Conv2d(channels, 5, 1, stride=2, bias=True),
        nn.Conv2d(5, channels, 3, padding=1),
        operation("skip_connect", channels, channels, 2, affine=True),
    )


def gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    """Of the mean square of the outputs, by all weights and the input [B, C, H, W]."""
    x = x.requires_grad_()
    net(x).square().mean().backward()
    return [x.grad, *(p.grad for p in net.parameters())]  # type: ignore[list-item]


def sweep() -> None:
    """Every size, number of channels and of threads, several backwards each, against the contiguous form in float64."""
    from copy import deepcopy

    for threads in (1, 2):
        torch.set_num_threads(threads)
        for channels in CHANNELS:
            plain = strided(channels)
            for size in SIZES:
                x = torch.randn(2, channels, size, size)
                exact = gradients(deepcopy(plain).double(), x.double())
                for _ in range(2):
                    net = to_channels_last(deepcopy(plain))
                    ours = gradients(net, x.clone().contiguous(memory_format=torch.channels_last))
                    for one, other in zip(ours, exact, strict=True):
                        torch.testing.assert_close(one.double(), other, rtol=1e-3, atol=1e-6)


def networks() -> None:
    """Whole networks: the search network of few channels, a discrete cell network, timm's, at 64 pixels."""
    import timm

    from supernet import Supernet, build, get_space, published
    from supernet.network.training_form import Fast

    x = torch.randn(2, 3, 64, 64)
    for executor, channels in (("torch", 2), ("auto", 4)):
        net = Supernet(get_space("s1"), executor=executor, channels=channels, layers=3)
        for _ in range(2):
            net(x).sum().backward()
    discrete = build(published("DARTS_V2"), channels=4, layers=3)
    narrow = timm.create_model("resnet18", channels=(4, 8, 8, 12), num_classes=3)
    for net in (discrete, narrow):
        form = Fast(net, torch.device("cpu"), channels_last="on")
        for _ in range(2):
            form(x).sum().backward()


def test_in_a_process_of_its_own() -> None:
    code = "from tests.network.test_channels_last import networks, sweep; sweep(); networks(); print('alive')"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip().endswith("alive"), (result.returncode, result.stderr[-2000:])


@pytest.mark.parametrize(
    ("channels", "groups", "kernel", "stride", "unsafe"),
    [(4, 1, 1, 2, True), (15, 1, 1, 3, True), (16, 1, 1, 2, False), (4, 1, 1, 1, False), (4, 1, 3, 2, False),
     (32, 4, 1, 2, True)],
)  # fmt: skip
def test_which_convolutions_stay_contiguous(channels: int, groups: int, kernel: int, stride: int, unsafe: bool) -> None:
    conv = nn.Conv2d(channels, 8, kernel, stride=stride, groups=groups)
    assert unsafe_in_channels_last(conv.weight, conv.stride) is unsafe
    assert channels // groups < FEW_CHANNELS or not unsafe
    to_channels_last(to_channels_last(conv))
    assert len(conv._forward_pre_hooks) == unsafe  # a second call adds no second hook
    reads = []
    conv.register_forward_hook(lambda _, inputs, __: reads.append(inputs[0].is_contiguous()))
    conv(torch.randn(2, channels, 8, 8).contiguous(memory_format=torch.channels_last))
    assert reads == [unsafe]
