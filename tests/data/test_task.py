"""Tasks: exact sums, ties and NaN, smoothing in training only, and that a regression fits the protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.tasks.classification import ImageClassification
from supernet.tasks.task import TASKS, Task, add_sums


@TASKS.register("test_regression")
@dataclass(frozen=True)
class Regression:
    """A user's own task, complete."""

    outputs: int = 1
    selects: str = "loss"
    maximise: bool = False

    def unpack(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch[0], batch[1]

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        return (outputs[:, 0] - targets).square().mean()

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        error = (outputs.detach()[:, 0] - targets).double()
        return {"count": torch.tensor(len(targets)), "squares": error.square().sum()}

    def metrics(self, sums: Mapping[str, Any]) -> dict[str, float]:
        return {"loss": float(sums["squares"]) / int(sums["count"])}


def _train(task: Task, net: nn.Module, batches: list[tuple[Tensor, Tensor]], steps: int) -> dict[str, float]:
    """A loop as the toolkit writes them: it knows the protocol and no task."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(steps):
        inputs, targets = task.unpack(batches[step % len(batches)])
        optimizer.zero_grad()
        task.loss(net(inputs), targets, training=True).backward()
        optimizer.step()
    total: dict[str, Tensor] = {}
    for batch in batches:
        inputs, targets = task.unpack(batch)
        total = add_sums(total, task.sums(net(inputs), targets))
    return task.metrics(total)


def test_a_regression_is_a_task() -> None:
    """Least squares has a closed form, which the loop must reach."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 3), torch.randn(64)
    task = TASKS["test_regression"]()
    assert isinstance(task, Task)
    found = _train(task, nn.Linear(3, task.outputs), [(x, y)], 300)[task.selects]
    design = torch.cat([x, torch.ones(64, 1)], dim=1)
    best = (design @ torch.linalg.lstsq(design, y[:, None]).solution - y[:, None]).square().mean()
    assert found == pytest.approx(float(best), rel=1e-5)


def test_the_default_is_a_task() -> None:
    assert isinstance(TASKS["classification"](outputs=10), Task)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_sums_against_sorting(classes: int) -> None:
    torch.manual_seed(classes)
    logits = torch.randn(50, classes).mul(2).round()  # rounded: many ties
    targets = torch.randint(classes, (50,))
    sums = ImageClassification(classes).sums(logits, targets)
    ranking = torch.sort(logits, dim=1, descending=True, stable=True).indices
    assert sums["top1"] == (ranking[:, 0] == targets).sum()
    assert sums["top5"] == (ranking[:, :5] == targets[:, None]).any(1).sum()
    exact = -torch.log_softmax(logits.double(), 1).gather(1, targets[:, None]).sum()
    assert float(sums["loss"]) == pytest.approx(float(exact), rel=1e-6)


def test_constant_and_broken_outputs_are_not_right() -> None:
    task, targets = ImageClassification(10), torch.arange(10)
    assert task.sums(torch.zeros(10, 10), targets)["top1"] == 1  # only class 0
    assert task.sums(torch.full((10, 10), torch.nan), targets)["top5"] == 0


def test_counts_add_up_exactly_in_any_batches() -> None:
    torch.manual_seed(0)
    task, logits, targets = ImageClassification(5), torch.randn(101, 5), torch.randint(5, (101,))
    total: dict[str, Tensor] = {}
    for start in range(0, 101, 7):
        total = add_sums(total, task.sums(logits[start : start + 7], targets[start : start + 7]))
    whole = task.sums(logits, targets)
    for key in ("count", "top1", "top5"):
        assert total[key] == whole[key]
    assert task.metrics(total)["loss"] == pytest.approx(task.metrics(whole)["loss"], rel=1e-12)
    assert task.metrics(whole)["top1"] == int((logits.argmax(1) == targets).sum()) / 101


def test_smoothing_in_training_only() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(8, 4, dtype=torch.float64), torch.randint(4, (8,))
    task, plain = ImageClassification(4, smoothing=0.1), ImageClassification(4)
    log = torch.log_softmax(logits, 1)
    shares = torch.nn.functional.one_hot(targets, 4) * 0.9 + 0.1 / 4
    torch.testing.assert_close(task.loss(logits, targets, training=True), -(shares * log).sum(1).mean())
    assert task.loss(logits, targets, training=False) == plain.loss(logits, targets, training=True)


def test_mixed_targets() -> None:
    """Mixup gives shares of classes instead of classes."""
    task = ImageClassification(3)
    shares = torch.tensor([[0.7, 0.3, 0.0]])
    assert task.sums(torch.tensor([[2.0, 1.0, 0.0]]), shares)["top1"] == 1
    assert task.loss(torch.zeros(1, 3), shares, training=True) == pytest.approx(torch.log(torch.tensor(3.0)).item())


@pytest.mark.parametrize(("outputs", "smoothing"), [(1, 0.0), (10, 1.0), (10, -0.1)])
def test_impossible_values(outputs: int, smoothing: float) -> None:
    with pytest.raises(SupernetError):
        ImageClassification(outputs, smoothing)
