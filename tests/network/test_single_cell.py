"""One stage of one NAS-Bench-201 cell, and operations with a skip beside them: what the mini-suite is made of."""

import pytest
import torch

from supernet import cost
from supernet.errors import SupernetError
from supernet.network import Supernet, build_from
from supernet.ops import operation
from supernet.ops.beside_skip import WITH_SKIP, BesideSkip
from supernet.space import get_space

SPACE = get_space("nasbench201")


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_stages_of_nasbench201(stages: int) -> None:
    arguments = {"channels": 4, "cells_per_stage": 1, "stages": stages}
    assert len(Supernet(SPACE, **arguments).sites) == stages
    point = next(SPACE.points())
    net = build_from(SPACE, point, **arguments).eval()
    x = torch.randn(1, 3, 16, 16)
    assert net.forward_features(x).shape == (1, 4 * 2 ** (stages - 1), 16 // 2 ** (stages - 1), 16 // 2 ** (stages - 1))
    assert [entry["reduction"] for entry in net.feature_info] == [2**stage for stage in range(stages)]
    counted = cost.report(point, space=SPACE, image=(3, 16, 16), **arguments)
    assert counted["parameters"] == sum(p.numel() for p in net.parameters())


def test_a_network_has_stages() -> None:
    with pytest.raises(SupernetError, match=r"stages=0 must lie in 1..6"):
        Supernet(SPACE, channels=4, stages=0)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", WITH_SKIP)
def test_a_skip_beside_an_operation_is_added(name: str, stride: int) -> None:
    op = operation(f"{name}_with_skip", 4, 4, stride).double().eval()
    assert isinstance(op, BesideSkip)
    plain, skip = operation(name, 4, 4, stride).double().eval(), operation("skip_connect", 4, 4, stride).double().eval()
    plain.load_state_dict(op.op.state_dict())
    skip.load_state_dict(op.skip.state_dict())
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    assert torch.equal(op(x), plain(x) + skip(x)) and (op(x) - plain(x)).abs().sum() > 1
