"""The DARTS search network in its original formulation (Liu, Simonyan, Yang; arXiv:1806.09055): the yardstick.

Written for the measurements from the paper's definitions, with nothing shared and nothing left out:

    every edge  a list of 8 stock operations,  y = sum_o softmax(alpha)[o] * op_o(x)
    every node  the sum of its incoming edges
    none        x * 0; each pooling followed by a batch norm without scale and shift
    step        alphas, then weights; both times backward() through everything that has a gradient

NCHW throughout. It imports nothing of the project.
"""
# B batch, C channels, H height, W width, E edges, O operations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SearchNetwork", "step"]

NODES = 4


class Nothing(nn.Module):
    """`none`: the input times zero, at the output's resolution."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Halve(nn.Module):
    """ReLU, two 1x1 convolutions of stride 2 on grids shifted by one pixel, batch norm."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(c_out, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.conv_1(x), self.conv_2(x[:, :, 1:, 1:])], dim=1))


def relu_conv_norm(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out, affine=False))


def pool(c: int, layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(c, affine=False))


def separable(c: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    """ReLU, depthwise convolution, pointwise convolution, batch norm."""
    return [
        nn.ReLU(),
        nn.Conv2d(c, c, kernel, stride, dilation * (kernel // 2), dilation, groups=c, bias=False),
        nn.Conv2d(c, c, 1, bias=False),
        nn.BatchNorm2d(c, affine=False),
    ]


OPERATIONS: dict[str, Callable[[int, int], nn.Module]] = {  # of channels and stride
    "none": lambda c, s: Nothing(s),
    "max_pool_3x3": lambda c, s: pool(c, nn.MaxPool2d(3, s, padding=1)),
    "avg_pool_3x3": lambda c, s: pool(c, nn.AvgPool2d(3, s, padding=1, count_include_pad=False)),
    "skip_connect": lambda c, s: nn.Identity() if s == 1 else Halve(c, c),
    "sep_conv_3x3": lambda c, s: nn.Sequential(*separable(c, 3, s), *separable(c, 3, 1)),
    "sep_conv_5x5": lambda c, s: nn.Sequential(*separable(c, 5, s), *separable(c, 5, 1)),
    "dil_conv_3x3": lambda c, s: nn.Sequential(*separable(c, 3, s, dilation=2)),
    "dil_conv_5x5": lambda c, s: nn.Sequential(*separable(c, 5, s, dilation=2)),
}


class MixedOperation(nn.Module):
    """All operations of one edge."""

    def __init__(self, c: int, stride: int) -> None:
        super().__init__()
        self.ops = nn.ModuleList(make(c, stride) for make in OPERATIONS.values())

    def forward(self, x: Tensor, weights_O: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights_O, self.ops, strict=True))


class Cell(nn.Module):
    """Two inputs, four nodes, fourteen edges; the output joins the nodes."""

    def __init__(self, c_before: int, c_last: int, c: int, reduction: bool, reduction_before: bool) -> None:
        super().__init__()
        self.reduction = reduction
        self.preprocess0 = Halve(c_before, c) if reduction_before else relu_conv_norm(c_before, c)
        self.preprocess1 = relu_conv_norm(c_last, c)
        strides = [2 if reduction and source < 2 else 1 for node in range(NODES) for source in range(2 + node)]
        self.edges = nn.ModuleList(MixedOperation(c, stride) for stride in strides)

    def forward(self, s0: Tensor, s1: Tensor, weights_EO: Tensor) -> Tensor:
        states, first = [self.preprocess0(s0), self.preprocess1(s1)], 0
        for _ in range(NODES):
            node = sum(self.edges[e](state, weights_EO[e]) for e, state in enumerate(states, start=first))
            first += len(states)
            states.append(node)
        return torch.cat(states[-NODES:], dim=1)


class SearchNetwork(nn.Module):
    """Logits [B, classes] of images [B, 3, H, W]; `alphas` are the tables [E, O] of the normal and reduction cells."""

    def __init__(self, channels: int = 16, layers: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
        self.cells = nn.ModuleList()
        c, c_before, c_last, reduction_before = channels, 3 * channels, 3 * channels, False
        for layer in range(layers):
            reduction = layer in (layers // 3, 2 * layers // 3)
            c *= 2 if reduction else 1
            self.cells.append(Cell(c_before, c_last, c, reduction, reduction_before))
            c_before, c_last, reduction_before = c_last, NODES * c, reduction
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(c_last, classes)
        shape = len(self.cells[0].edges), len(OPERATIONS)
        self.alphas = nn.ParameterList(1e-3 * torch.randn(shape) for _ in ("normal", "reduce"))

    def weights(self) -> list[nn.Parameter]:
        """All parameters but the alphas."""
        return [p for name, p in self.named_parameters() if not name.startswith("alphas.")]

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = self.stem(x)
        for cell in self.cells:
            weights_EO = F.softmax(self.alphas[int(cell.reduction)], dim=-1)
            s0, s1 = s1, cell(s0, s1, weights_EO)
        return self.classifier(self.pool(s1).flatten(1))


def step(
    net: SearchNetwork,
    loss: Callable[[str], Tensor],
    alpha_optimizer: torch.optim.Optimizer,
    weight_optimizer: torch.optim.Optimizer,
    clip: float,
) -> None:
    """One first-order bilevel step; `loss` runs the network on the batch "val" or "train"."""
    alpha_optimizer.zero_grad()
    loss("val").backward()
    alpha_optimizer.step()
    weight_optimizer.zero_grad()
    loss("train").backward()
    nn.utils.clip_grad_norm_(net.weights(), clip)
    weight_optimizer.step()
