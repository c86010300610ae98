"""The cost of wrapped networks of timm: by the table what the built network has, counted by torch itself."""

import random
from typing import Any

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from supernet import cost
from supernet.network import build_from
from supernet.space.wrap import identity, kernel, without, wrap
from tests.support.covering import sampled

CASES: dict[str, tuple[dict[Any, Any], int, dict[str, Any]]] = {
    "resnet10t": ({"layer*.conv2": {"k1": kernel(1), "k5": kernel(5)}}, 32, {}),
    "convnext_atto": ({"stages.?.blocks.1": {"skip": identity}}, 32, {}),
    "vit_tiny_patch16_224": ({"blocks.*.mlp": {"none": without}}, 32, {"img_size": 32, "depth": 2}),
    "mobilenetv3_small_050": ({"blocks.?.1": {"skip": identity}}, 32, {}),
    "efficientnet_b0": ({"blocks.?.1": {"skip": identity}}, 32, {}),
    "mixer_s32_224": ({"blocks.*.mlp_channels": {"none": without}}, 64, {"img_size": 64}),
    "swin_tiny_patch4_window7_224": (
        {"layers.*.blocks.1": {"skip": identity}}, 64, {"img_size": 64, "window_size": 4, "depths": (1, 2, 1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sampled(CASES, 2))
def test_the_table_has_what_the_network_costs(name: str) -> None:
    rules, size, arguments = CASES[name]
    space = wrap(timm.create_model(name, num_classes=5, **arguments), rules, example=(3, size, size))
    table = cost.cost_table(space, "flops", image=(3, size, size))
    parameters = cost.cost_table(space, "parameters", image=(3, size, size))
    for seed in range(2):
        genotype = space.sample(random.Random(seed))
        # On the meta device: torch does not count the attention that it fuses on a processor.
        net = build_from(space, genotype).eval().to("meta")
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.zeros(1, 3, size, size, device="meta"))
        assert cost.flops(genotype, space=space, image=(3, size, size)) == counter.get_total_flops()
        assert table.of(genotype) == counter.get_total_flops()
        assert parameters.of(genotype) == sum(p.numel() for p in net.parameters())
