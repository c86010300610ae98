"""torch.export with a free batch, height and width: even and odd sizes give what the network gives."""

import random
from typing import Any

import pytest
import torch
from torch.export import Dim, export

from supernet.network import build
from supernet.space import get_space, published

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "darts": ("DARTS_V1", {"channels": 4, "layers": 3}),
    "nasbench201": ("", {"channels": 4, "cells_per_stage": 1}),
    "nas_bench_macro": ("", {"channels": 4, "features": 8}),
}


@pytest.mark.parametrize("name", ["nasbench201", "nas_bench_macro", pytest.param("darts", marks=pytest.mark.long)])
def test_a_free_size_is_exported(name: str) -> None:
    cell, arguments = CASES[name]
    genotype = published(cell) if cell else get_space(name).sample(random.Random(1))
    net = build(genotype, seed=0, **arguments).double().eval()
    free = {0: Dim("batch", min=1), 2: Dim("height", min=16, max=64), 3: Dim("width", min=16, max=64)}
    program = export(net, (torch.randn(2, 3, 32, 32, dtype=torch.float64),), dynamic_shapes=(free,)).module()
    for height, width in ((32, 32), (33, 35), (48, 31), (17, 16)):
        x = torch.randn(3, 3, height, width, dtype=torch.float64)
        torch.testing.assert_close(program(x), net(x), rtol=1e-10, atol=1e-12)
