"""Ready tasks against loops over single samples: losses, metrics, sums that add up, targets of another form."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from supernet.config import RecipeConfig
from supernet.data.sources import ImageInfo
from supernet.errors import SupernetError
from supernet.runtime.ranks import Ranks, _flat, _shaped
from supernet.tasks.multi_label import MultiLabel
from supernet.tasks.regression import Regression
from supernet.tasks.segmentation import IGNORE, SemanticSegmentation
from supernet.tasks.task import TASKS, Task, add_sums, name_of, require_name
from supernet.train.recipe import check_recipe


def batch(targets: Tensor) -> Sequence[Tensor]:
    return torch.zeros(len(targets), 3, 2, 2), targets, torch.arange(len(targets))


def in_parts(task: Task, outputs: Tensor, targets: Tensor, size: int) -> dict[str, float]:
    """The metrics of sums over parts of this size."""
    total: dict[str, Tensor] = {}
    for start in range(0, len(outputs), size):
        total = add_sums(total, task.sums(outputs[start : start + size], targets[start : start + size]))
    return task.metrics(total)


@pytest.fixture
def labels() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(23, 4, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(23, 4, generator=generator) < 0.3).double()


def test_labels_against_a_loop(labels: tuple[Tensor, Tensor]) -> None:
    logits, targets = labels
    task = MultiLabel(4)
    both = guessed = true = exact = 0
    loss = 0.0
    for row, there in zip(logits.tolist(), targets.tolist(), strict=True):
        guess = [1 / (1 + math.exp(-value)) > 0.5 for value in row]
        both += sum(g and t == 1 for g, t in zip(guess, there, strict=True))
        guessed, true, exact = guessed + sum(guess), true + sum(there), exact + (guess == [t == 1 for t in there])
        for value, t in zip(row, there, strict=True):
            q = 1 / (1 + math.exp(-value))
            loss -= (math.log(q) if t else math.log(1 - q)) / 92
    precision, recall = both / guessed, both / true
    found = in_parts(task, logits, targets, 5)
    expected = {"loss": loss, "precision": precision, "recall": recall, "exact": exact / 23}
    assert found == pytest.approx({**expected, "f1": 2 * precision * recall / (precision + recall)}, rel=1e-6)
    assert 0 < found["f1"] < 1 and found[task.selects] == found["f1"] and task.maximise
    assert float(task.loss(logits, targets, training=True)) == pytest.approx(loss)
    smooth = MultiLabel(4, smoothing=0.2)
    mixed = -(0.9 * torch.sigmoid(logits).log() + 0.1 * torch.sigmoid(-logits).log()).mean()
    assert float(smooth.loss(logits, torch.ones_like(logits), training=True)) == pytest.approx(float(mixed))
    assert float(smooth.loss(logits, targets, training=False)) == pytest.approx(loss)


def test_no_label_guessed_is_a_number() -> None:
    """At its beginning a network may guess nothing: a metric that is not finite would never be the best."""
    nothing = MultiLabel(2).sums(torch.full((3, 2), -1.0), torch.zeros(3, 2))
    assert MultiLabel(2).metrics(nothing)["f1"] == 0 and MultiLabel(2).metrics(nothing)["exact"] == 1
    broken = MultiLabel(2).sums(torch.full((3, 2), torch.nan), torch.zeros(3, 2))
    assert MultiLabel(2).metrics(broken)["exact"] == 0, "NaN is never right"


def test_numbers_against_a_loop() -> None:
    generator = torch.Generator().manual_seed(2)
    outputs, targets = torch.randn(2, 17, 3, generator=generator, dtype=torch.float64)
    errors = [abs(a - b) for a, b in zip(outputs.flatten().tolist(), targets.flatten().tolist(), strict=True)]
    task = Regression(3)
    square = sum(error**2 for error in errors) / 51
    found = in_parts(task, outputs, targets, 4)
    assert found == pytest.approx({"loss": square, "rmse": math.sqrt(square), "mae": sum(errors) / 51})
    assert not task.maximise and float(task.loss(outputs, targets, training=True)) == pytest.approx(square)


def test_numbers_in_other_units() -> None:
    """Standardised for the loss, and measured as they are in the data."""
    task = Regression(2, mean=(100.0, -3.0), deviation=(20.0, 0.5))
    targets = torch.tensor([[140.0, -3.0], [90.0, -2.0]])
    outputs = torch.tensor([[2.5, 0.0], [-0.5, 1.0]])  # 150, -3; 90, -2.5
    assert float(task.loss(outputs, targets, training=True)) == pytest.approx((0.25 + 1) / 4)
    found = task.metrics(task.sums(outputs, targets))
    assert found == pytest.approx({"loss": 1.25 / 4, "rmse": math.sqrt(100.25 / 4), "mae": 10.5 / 4})
    for wrong in ({"mean": (1.0,)}, {"mean": (1.0,), "deviation": (1.0,)}, {"mean": (0, 0), "deviation": (1, 0)}):
        with pytest.raises(SupernetError):
            Regression(2, **wrong)


def test_one_number_is_never_broadcast() -> None:
    """[B] - [B, 1] is [B, B]: a loss that goes down all the same."""
    task, targets = Regression(1), torch.tensor([1.0, 2.0, 4.0])
    _, unpacked = task.unpack(batch(targets))
    assert unpacked.shape == (3, 1)
    for outputs in (torch.zeros(3), torch.zeros(3, 1)):
        assert float(task.loss(outputs, unpacked, training=True)) == pytest.approx(7)
        assert task.metrics(task.sums(outputs, unpacked))["mae"] == pytest.approx(7 / 3)
    with pytest.raises(SupernetError, match=r"outputs \(3, 2\) must be numbers \(3, 1\)"):
        task.loss(torch.zeros(3, 2), unpacked, training=True)


@pytest.fixture
def masks() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(7, 3, 4, 5, generator=generator, dtype=torch.float64)
    targets = torch.randint(3, (7, 4, 5), generator=generator)
    targets[torch.rand(7, 4, 5, generator=generator) < 0.2] = IGNORE
    return logits, targets


def test_masks_against_a_loop(masks: tuple[Tensor, Tensor]) -> None:
    """IoU by its definition, on sets of pixels; pixels that do not count are in no set."""
    logits, targets = masks
    task = SemanticSegmentation(3)
    counted = (targets != IGNORE).nonzero().tolist()
    true = [{tuple(at) for at in counted if targets[tuple(at)] == k} for k in range(3)]
    guess = [{(b, h, w) for b, h, w in counted if int(logits[b, :, h, w].argmax()) == k} for k in range(3)]
    iou = [len(t & g) / len(t | g) for t, g in zip(true, guess, strict=True)]
    shares = torch.log_softmax(logits, 1)
    loss = -sum(float(shares[b, targets[b, h, w], h, w]) for b, h, w in counted) / len(counted)
    right = sum(len(t & g) for t, g in zip(true, guess, strict=True)) / len(counted)
    expected = {"loss": loss, "miou": sum(iou) / 3, "accuracy": right}
    assert in_parts(task, logits, targets, 2) == pytest.approx(expected, rel=1e-6)
    assert in_parts(task, logits, targets, 7) == pytest.approx(expected, rel=1e-6)
    assert float(task.loss(logits, targets, training=True)) == pytest.approx(loss)


def test_masks_without_a_pixel_that_counts() -> None:
    task, logits = SemanticSegmentation(2), torch.zeros(1, 2, 2, 2, requires_grad=True)
    nowhere = torch.full((1, 2, 2), IGNORE)
    loss = task.loss(logits, nowhere, training=True)
    loss.backward()
    assert loss.item() == 0 and logits.grad is not None and not logits.grad.any(), "and no NaN"
    assert task.metrics(task.sums(logits, nowhere)) == {"loss": 0, "miou": 0, "accuracy": 0}


def test_a_class_that_does_not_occur_is_no_part_of_the_mean() -> None:
    task, targets = SemanticSegmentation(3), torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.nn.functional.one_hot(torch.tensor([[[0, 0, 1, 0]]]), 3).permute(0, 3, 1, 2).float()
    assert task.metrics(task.sums(logits, targets))["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    broken = task.sums(torch.full((1, 3, 1, 4), torch.nan), targets)
    assert task.metrics(broken)["miou"] == 0, "NaN is never right"


def test_sums_of_several_ranks(masks: tuple[Tensor, Tensor]) -> None:
    """They travel between processes as one vector, and come back in their shapes and types."""
    task, (logits, targets) = SemanticSegmentation(3), masks
    one, other = ({"train": task.sums(logits[part], targets[part])} for part in (slice(3), slice(3, 7)))
    added = _shaped(_flat(one) + _flat(other), one)["train"]
    whole = task.sums(logits, targets)
    assert all(torch.equal(added[key], whole[key]) for key in ("count", "both", "true", "guessed"))
    assert added["both"].dtype == torch.int64 and task.metrics(added) == pytest.approx(task.metrics(whole))
    restored = Ranks().own(one, [_flat(one)])
    assert torch.equal(restored["train"]["true"], one["train"]["true"])


FORMS: list[tuple[Any, Tensor, str]] = [
    (MultiLabel(3), torch.tensor([0, 2]), r"reads rows of 0 and 1 \[B, 3\], and the data give \[2\] of int64"),
    (Regression(2), torch.zeros(2, 3), r"reads numbers \[B, 2\], and the data give \[2, 3\] of float32"),
    (SemanticSegmentation(2), torch.tensor([0, 1]), r"reads masks of class numbers \[B, H, W\], .* \[2\] of int64"),
    (SemanticSegmentation(2), torch.zeros(2, 4, 4), r"reads masks of class numbers .* of float32"),
]


@pytest.mark.parametrize(("task", "targets", "message"), FORMS)
def test_targets_of_another_form(task: Task, targets: Tensor, message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        task.unpack(batch(targets))


def test_a_network_that_pools_cannot_give_masks() -> None:
    with pytest.raises(SupernetError, match=r"outputs \(2, 3\) must be logits \(2, 3, 4, 4\).* without pooling"):
        SemanticSegmentation(3).loss(torch.zeros(2, 3), torch.zeros(2, 4, 4, dtype=torch.int64), training=True)


def test_names() -> None:
    for name in TASKS:
        if not name.startswith("test_"):
            task = TASKS[name](outputs=3)
            assert isinstance(task, Task) and name_of(task) == name
            require_name(name)
    require_name("auto")
    with pytest.raises(SupernetError, match="unknown task 'regresion'; did you mean 'regression'"):
        require_name("regresion")


@pytest.mark.parametrize(
    ("name", "outputs", "smoothing"),
    [("multi_label", 0, 0), ("multi_label", 2, 1), ("regression", 0, 0), ("regression", 1, 0.1), ("segmentation", 1, 0),
     ("segmentation", 256, 0)],
)  # fmt: skip
def test_impossible_values(name: str, outputs: int, smoothing: float) -> None:
    with pytest.raises(SupernetError):
        TASKS[name](outputs, smoothing=smoothing)


@pytest.mark.parametrize(
    ("task", "setting", "why"),
    [
        ("regression", {"mixup": 0.2}, "recipe.mixup mixes classes, and the targets of task=regression are none"),
        ("multi_label", {"cutmix": 1.0}, "recipe.cutmix mixes classes"),
        ("segmentation", {"auto_augment": "rand-m9"}, "would turn and cut pictures without their masks"),
    ],
)
def test_recipes_that_would_spoil_targets(task: str, setting: dict[str, Any], why: str) -> None:
    info = ImageInfo(name="csv", num_classes=2, task=task)
    check_recipe(RecipeConfig(), info)
    with pytest.raises(SupernetError, match=why):
        check_recipe(RecipeConfig(**setting), info)
