"""Edge connectors and observers: what they are handed, that executors agree, and who refuses them."""
# B batch, C channels, H height, W width, E edges, O operations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import EdgeSite, Supernet
from supernet.space import Space, get_space
from supernet.space.choice import Choice

SIZE: dict[str, dict[str, Any]] = {
    "darts": {"channels": 4, "layers": 3},
    "nasbench201": {"channels": 4, "cells_per_stage": 1},
}


def supernet(name: str = "darts", executor: str = "torch", **arguments: Any) -> Supernet:
    net = Supernet(get_space(name), executor=executor, seed=0, **SIZE[name] | arguments).double()
    generator = torch.Generator().manual_seed(0)
    for alpha in net.alphas():
        alpha.data.copy_(torch.randn(alpha.shape, generator=generator, dtype=torch.float64))
    return net


def images() -> Tensor:
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class Scale:
    """Multiplies the outputs of skips by a number, as skip dropout does by 0 or 1 / (1 - rate)."""

    def __init__(self, factor: float | Tensor) -> None:
        self.factor = factor

    def __call__(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.factor * y if name == "skip_connect" else y for name, y in outputs.items()}


class Add:
    """An auxiliary path beside the skip, from the edge's own input."""

    def __call__(self, edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        x = x if edge.stride == 1 else F.avg_pool2d(x, 2)
        return outputs | {"skip_connect": outputs["skip_connect"] + x.sin()}


class Notes:
    """Keeps what it sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[EdgeSite, dict[str, Tensor]]] = []

    def observe(self, edge: EdgeSite, outputs: Mapping[str, Tensor]) -> None:
        self.seen.append((edge, {name: y.detach().clone() for name, y in outputs.items()}))


def gradients(net: Supernet, x: Tensor) -> list[Tensor]:
    y = net(x)
    found = torch.autograd.grad(y.square().sum(), [*net.alphas(), *net.weights()], allow_unused=True)
    return [y.detach(), *(g if g is not None else torch.zeros(()) for g in found)]


@pytest.mark.parametrize("executor", ["reference", "torch", "auto"])
@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_a_factor_on_an_operation_is_a_factor_on_its_weight(name: str, executor: str) -> None:
    """Against the same pass without a connector, whose p has the factor in it."""
    net, x = supernet(name, executor), images()
    column = net.space.tables[0].columns.index("skip_connect")
    factor = torch.ones(len(net.space.tables[0].columns), dtype=torch.float64)
    factor[column] = 0.25
    expected = net(x, net.mixture({table: p * factor for table, p in net.mixing().items()}))
    net.connect([Scale(0.5), Scale(0.5)])  # one behind the other
    torch.testing.assert_close(net(x), expected, rtol=1e-10, atol=1e-10)
    net.connect([])
    torch.testing.assert_close(net(x), supernet(name, executor)(x), rtol=0, atol=0)


@pytest.mark.parametrize("arguments", [{}, {"partial": 2}, {"checkpoint": True}])
def test_executors_agree_with_an_auxiliary_path(arguments: dict[str, Any]) -> None:
    """Outputs and the gradients of alphas and weights, with partial channels and with checkpointing too."""
    found = []
    for executor in ("reference", "torch"):
        net = supernet("darts", executor, **arguments)
        net.connect([Add()])
        found.append(gradients(net, images()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    without = gradients(supernet("darts", **arguments), images())
    assert not torch.allclose(found[0][0], without[0])


@pytest.mark.parametrize("executor", ["reference", "torch"])
def test_a_connector_is_told_where_it_stands_and_sees_what_runs(executor: str) -> None:
    net, notes = supernet("darts", executor), Notes()
    mask = [[column in (0, 3, 4 + row % 2) for column in range(8)] for row in range(14)]
    columns = net.space.tables[0].columns
    net.observe([notes])
    net(images(), net.mixture(gates={"normal": tuple(map(tuple, mask))}))
    assert [edge.site for edge, _ in notes.seen] == [site for site in range(3) for _ in range(14)]
    for edge, outputs in notes.seen:
        assert edge.table == net.sites[edge.site] and edge.source < edge.node
        assert edge.stride == (2 if edge.table == "reduce" and edge.source < 2 else 1)
        runs = (
            [name for name, on in zip(columns, mask[edge.row], strict=True) if on]
            if edge.table == "normal"
            else columns
        )
        assert list(outputs) == [name for name in runs if name != "none"]
        assert len({y.shape for y in outputs.values()}) == 1
    rows = [(edge.source, edge.node) for edge, _ in notes.seen[:14]]
    assert rows == [(j, i) for i in range(2, 6) for j in range(i)]


def test_an_observer_changes_nothing_and_executors_show_it_the_same() -> None:
    seen, x = [], images()
    for executor in ("reference", "torch", "auto"):
        net, notes = supernet("darts", executor), Notes()
        expected = net(x)
        net.observe([notes])
        torch.testing.assert_close(net(x), expected, rtol=0, atol=0)
        seen.append(notes.seen)
    for other in seen[1:]:
        for (edge, outputs), (same, shown) in zip(seen[0], other, strict=True):
            assert edge == same
            for name, y in outputs.items():
                torch.testing.assert_close(shown[name], y, rtol=1e-9, atol=1e-9)


def test_an_observer_sees_outputs_before_connectors_and_once_with_checkpointing() -> None:
    net, notes = supernet("darts", checkpoint=True), Notes()
    net.observe([notes])
    net(images())
    plain, notes.seen = notes.seen, []
    net.connect([Scale(0.0)])
    net(images()).sum().backward()
    assert len(notes.seen) == len(plain) == 42
    torch.testing.assert_close(notes.seen[0][1]["skip_connect"], plain[0][1]["skip_connect"])


def test_draws_of_a_connector_are_repeated_where_a_cell_is_computed_again() -> None:
    """With checkpointing the same gradients as without."""

    def dropped(edge: EdgeSite, x: Tensor, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: F.dropout(y, 0.5) if name == "skip_connect" else y for name, y in outputs.items()}

    found = []
    for checkpoint in (False, True):
        net = supernet("darts", checkpoint=checkpoint)
        net.connect([dropped])
        torch.manual_seed(4)
        found.append(gradients(net, images()))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_gates_on_the_device_and_connectors_go_together() -> None:
    gate = {"cell": (torch.rand(6, 5, generator=torch.Generator().manual_seed(0)) < 0.5).double()}
    found = []
    for executor in ("reference", "torch"):
        net = supernet("nasbench201", executor)
        net.connect([Scale(3.0)])
        found.append(net(images(), net.mixture(gates=gate)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_executors_without_single_outputs_refuse_by_name() -> None:
    net = supernet("darts", "cpu")
    with pytest.raises(
        SupernetError, match="executor=cpu cannot serve the edge connector Scale.*executor=torch or auto"
    ):
        net.connect([Scale(0.5)])
    with pytest.raises(SupernetError, match="executor=cpu cannot serve the observer Notes"):
        net.observe([Notes()])
    net(images())  # nothing was attached
    net.use("torch")
    net.connect([Scale(0.5)])
    with pytest.raises(SupernetError, match="executor=cpu cannot serve the edge connector Scale"):
        net.use("cpu")
    with pytest.raises(SupernetError, match="executor=cuda cannot serve"), net.executing("cuda"):
        pass
    assert net.body.executor is not None and net.body.executor.name == "torch"


def test_an_output_for_no_operation_is_refused() -> None:
    net = supernet()
    net.connect([lambda edge, x, outputs: outputs | {"skip_conect": outputs["skip_connect"]}])
    with pytest.raises(SupernetError, match="did you mean 'skip_connect'"):
        net(images())


def test_networks_without_mixed_edges_refuse() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.op = Choice({"skip": nn.Identity(), "linear": nn.Linear(3, 3)})

        def forward(self, x: Tensor) -> Tensor:
            return self.op(x)

    for net in (Supernet(Space(Net), seed=0), Supernet(get_space("darts_rnn"), seed=0, hidden=3)):
        with pytest.raises(SupernetError, match="the edge connector Scale needs mixed edges of cells"):
            net.connect([Scale(0.5)])
        with pytest.raises(SupernetError, match="the observer Notes needs mixed edges of cells"):
            net.observe([Notes()])
        net.connect([]), net.observe([])
