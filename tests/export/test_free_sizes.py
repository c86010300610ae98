"""torch.export with a free batch, height and width: even and odd sizes give what the network gives."""

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export

from supernet.network import build
from supernet.ops import OPERATIONS
from supernet.space import SPACES, get_space
from tests.support.zoo_small import SIZES

SIDES = ((32, 32), (33, 35), (48, 31), (17, 16))
FREE = {0: Dim("batch", min=1), 2: Dim("height", min=16, max=64), 3: Dim("width", min=16, max=64)}
# These have a size by their nature: a position for each patch, a step for each character. Their batch is free.
FIXED = {"autoformer_tiny": torch.randn(2, 3, 16, 16, dtype=torch.float64), "darts_rnn": torch.ones(2, 2).long()}
# Cells of operations that are exported one by one below, of the structure of the others.
REPETITIONS = ("darts", "nasnet", "s1", "s2", "s3", "s4")


def network(name: str) -> nn.Module:
    args, sizes = SIZES.get(name, ({}, {}))
    return build(get_space(name, **args).sample(random.Random(1)), seed=0, **sizes).double().eval()


def check(program: Any, net: nn.Module, x: Tensor) -> None:
    outputs = []
    for run in (program, net):
        torch.manual_seed(0)  # noise is an operation
        outputs.append(run(x))
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.long if n in REPETITIONS else ()) for n in SPACES if n not in FIXED],
)
def test_a_free_size_is_exported(name: str) -> None:
    net = network(name)
    program = export(net, (torch.randn(2, 3, 32, 32, dtype=torch.float64),), dynamic_shapes=(FREE,)).module()
    for height, width in SIDES:
        check(program, net, torch.randn(3, 3, height, width, dtype=torch.float64))


@pytest.mark.parametrize("name", FIXED)
def test_networks_of_one_size_have_a_free_batch(name: str) -> None:
    net, x = network(name), FIXED[name]
    program = export(net, (x,), dynamic_shapes=({0: Dim("batch", min=1)},)).module()
    check(program, net, torch.cat([x, x.flip(-1), x])[:5])
    other = torch.cat([x, x], -1)
    with pytest.raises((AssertionError, RuntimeError), match=r"shape|Guard"):
        program(other)


class Operations(nn.Module):
    """Every registered operation, plain and of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        made = {f"{name}-{stride}": OPERATIONS[name](4, 4, stride, True) for name in OPERATIONS for stride in (1, 2)}
        self.operations = nn.ModuleDict(made)

    def forward(self, x: Tensor) -> list[Tensor]:
        """As a cell needs them: all of one stride have the same size, and may be added."""
        halves = [op for name, op in self.operations.items() if name.endswith("-2")]
        wholes = [op for name, op in self.operations.items() if name.endswith("-1")]
        return [sum((op(x) for op in some[1:]), some[0](x)) for some in (wholes, halves)]


def test_every_operation_has_the_size_of_the_others() -> None:
    net = Operations().double().eval()
    program = export(net, (torch.randn(2, 4, 32, 32, dtype=torch.float64),), dynamic_shapes=(FREE,)).module()
    for height, width in SIDES:
        check(program, net, torch.randn(3, 4, height, width, dtype=torch.float64))
