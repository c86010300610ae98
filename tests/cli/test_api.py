"""The stages as functions of data at hand, as a notebook calls them."""

from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import supernet
from supernet import api, cost
from supernet.config import SearchConfig
from supernet.errors import SupernetError
from supernet.runs.log import read_metrics
from supernet.space import Space, get_space
from supernet.train.retrain import RetrainProgram
from tests.support.zoo_small import SMALL, small_space

QUIET: dict[str, Any] = {"log": {"progress": False, "tensorboard": False}}
TINY: dict[str, Any] = {"epochs": 1, "batch_size": 8, "network": {"channels": 2, "layers": 3}, **QUIET}


def images(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 255, (count, 1, 8, 8), dtype=np.uint8), np.arange(count) % 4


class Net(nn.Module):
    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        kernels = {f"k{k}": partial(nn.Conv2d, 1, 4, k, padding=k // 2) for k in (1, 3)}
        self.op = supernet.Choice(kernels)
        self.head = nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.op(x).relu().mean((2, 3)))


def test_search_retrain_and_export_on_arrays(tmp_path: Path) -> None:
    found = supernet.search("darts", images(24), images(16, 1), method="darts_second_order", **TINY)
    assert found.done
    assert found.folder is None
    trained = supernet.retrain(found.genotype, images(24), images(16, 1), images(12, 2), **TINY)
    assert {"val/top1", "test/top1"} <= trained.metrics.keys()
    folder = supernet.export_model(trained, tmp_path / "model")
    assert (folder / "model.safetensors").is_file()


def test_a_network_of_ones_own(tmp_path: Path) -> None:
    found = supernet.search(Net, images(24), run=tmp_path / "mine", epochs=2, batch_size=8, **QUIET)
    plain, genotype = found.net.discretize()
    assert not any(isinstance(m, supernet.Choice) for m in plain.modules())
    assert genotype.decisions["op"] in ("k1", "k3")
    assert found.folder == tmp_path / "mine"
    assert {row["step"] for row in read_metrics(tmp_path / "mine" / "metrics.jsonl")} >= {2}
    trained = supernet.retrain(genotype, images(24), space=Space(Net), epochs=1, batch_size=8, **QUIET)
    assert isinstance(trained.model(torch.zeros(1, 1, 8, 8)), Tensor)


def test_retraining_names_its_space_as_a_search_does(tmp_path: Path) -> None:
    space = Space(Net)
    genotype = space.genotype({"op": "k3"})
    settings: dict[str, Any] = {"epochs": 1, "batch_size": 8, **QUIET}
    (tmp_path / "net.yaml").write_text(space.to_yaml())
    allow = Net.__module__
    given: list[dict[str, Any]] = [
        {"space": space}, {"space": Net}, {"space": str(tmp_path / "net.yaml"), "allow": [allow]},
        {"space": tmp_path / "net.yaml", "allow": allow},
    ]  # fmt: skip
    found = [supernet.retrain(genotype, images(24), **one, **settings).metrics["val/loss"] for one in given]
    assert len(set(found)) == 1
    small = get_space("darts", nodes=1).sample(Random(0))
    assert supernet.retrain(small, images(24), space="darts", **TINY).done


class MeanBrightness:
    """Regression: predict the mean of the image; lower error is better."""

    outputs, selects, maximise = 1, "error", False

    def unpack(self, batch: Any) -> tuple[Tensor, Tensor]:
        return batch[0], batch[0].mean((1, 2, 3))

    def loss(self, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        return (outputs[:, 0] - targets).square().mean()

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        squares = (outputs[:, 0] - targets).square()
        return {"count": torch.tensor(len(squares)), "error": squares.double().sum()}

    def metrics(self, sums: Any) -> dict[str, float]:
        error = float(sums["error"]) / int(sums["count"])
        return {"loss": error, "error": error}


def test_a_task_of_ones_own() -> None:
    floats = torch.rand(32, 1, 8, 8), torch.rand(32)
    found = supernet.search(partial(Net, 1), floats, floats, task=MeanBrightness(), epochs=3, batch_size=8, **QUIET)
    assert found.metrics["val/error"] < 0.5
    trained = supernet.retrain(
        found.genotype, floats, floats, floats, space=Space(partial(Net, 1)), task=MeanBrightness(), epochs=1,
        batch_size=8, **QUIET,
    )  # fmt: skip
    assert "test/error" in trained.metrics


def test_without_a_folder_the_best_epoch_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[dict[str, Tensor]] = []

    def worse_each_time(self: RetrainProgram, epoch: int) -> dict[str, Any]:
        states.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return {"val/top1": 0.9 - 0.5 * epoch}

    monkeypatch.setattr(RetrainProgram, "end_epoch", worse_each_time)
    trained = supernet.retrain("DARTS_V2", images(40), **{**TINY, "epochs": 2})
    assert trained.metrics["epoch"] == 0
    returned = trained.model.state_dict()
    assert all(torch.equal(returned[name], value) for name, value in states[0].items())
    assert not all(torch.equal(returned[name], value) for name, value in states[1].items())


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: supernet.search("dart", **QUIET), "did you mean 'darts'"),
        (lambda: supernet.search("darts", method="darts_first", **QUIET), "did you mean 'darts_first_order'"),
        (lambda: supernet.search("darts", epoch=3), "did you mean 'epochs'"),
        (lambda: supernet.search("darts", network={"chanels": 3}), "did you mean 'channels'"),
        (lambda: supernet.search("darts", 5), "give (images, targets)"),
        (lambda: supernet.search("darts", epochs=0), "epochs=0"),
        (lambda: supernet.search(nn.Linear), "Space(...)"),
        (lambda: supernet.retrain("DARTS_V3"), "did you mean 'DARTS_V"),
        (lambda: supernet.retrain("DARTS_V2", recipe={"opt": "sdg"}, data={"limit": 20}), "sdg"),
        (lambda: supernet.retrain("DARTS_V2", recipe={"sched": "cosin"}, data={"limit": 20}), "cosin"),
        (lambda: supernet.retrain("DARTS_V2", space="nasbench201"), "this is 'nasbench201'"),
        (lambda: supernet.retrain("DARTS_V2", space="dart"), "did you mean 'darts'"),
        (lambda: supernet.retrain("DARTS_V2", space="none.yaml"), "none.yaml"),
        (lambda: supernet.retrain("DARTS_V2", space=Net), "this is 'Net'"),
        (lambda: supernet.retrain("DARTS_V2", space=5), "takes a network class"),  # type: ignore[arg-type]
        (lambda: supernet.search(Net, run={"root": "x"}), 'such as run="runs/mine"'),  # type: ignore[arg-type]
        (lambda: supernet.search("mine.yaml", allow=5), "space.allow=5"),  # type: ignore[arg-type]
        (lambda: cost.cost_table("nasbench201", "flops"), "use get_space(name)"),  # type: ignore[arg-type]
        (lambda: supernet.export_model(nn.Linear(1, 1), "x"), "supernet.retrain returns"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_is_one_line(call: Any, named: str) -> None:
    with pytest.raises(SupernetError) as caught:
        call()
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_s_preset_may_set_anything_and_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = {"method": {"method": {"name": "mine"}, "alphas": {"lr": 0.125}, "network": {"partial": 4, "channels": 9}}}
    searched: list[SearchConfig] = []
    monkeypatch.setattr(api, "preset", lambda group, name: layers.get(group, {}))
    monkeypatch.setattr(api, "run_search", lambda config, **_: searched.append(config))
    supernet.search("darts", method="mine")
    supernet.search("darts", method="mine", alphas={"lr": 0.5}, network={"channels": 2})
    supernet.search("darts", method={"name": "other"})
    first, second, third = searched
    assert (first.method.name, first.alphas.lr, first.network) == ("mine", 0.125, {"partial": 4, "channels": 9})
    assert (second.alphas.lr, second.network) == (0.5, {"partial": 4, "channels": 2})
    assert (third.method.name, third.alphas.lr, third.network) == ("other", SearchConfig().alphas.lr, {})


def test_a_run_of_other_options_is_another_run(tmp_path: Path) -> None:
    """The order of the options decides what a column of the alphas means, so it is part of the identity."""

    class Other(Net):
        def __init__(self) -> None:
            super().__init__()
            kernels = {f"k{k}": partial(nn.Conv2d, 1, 4, k, padding=k // 2) for k in (3, 1)}
            self.op = supernet.Choice(kernels)

    Other.__name__ = Net.__name__
    settings: dict[str, Any] = {"run": tmp_path / "one", "epochs": 1, "batch_size": 8, **QUIET}
    supernet.search(Net, images(24), **settings)
    with pytest.raises(SupernetError, match="holds another run"):
        supernet.search(Other, images(24), **settings)
    with pytest.raises(SupernetError, match="holds another run"):
        supernet.search(Net, images(24), augment=supernet.Augment(flip=True), **settings)


def test_an_own_network_of_one_channel_is_exported(tmp_path: Path) -> None:
    found = supernet.search(Net, images(24), epochs=1, batch_size=8, **QUIET)
    trained = supernet.retrain(found, images(24), epochs=1, batch_size=8, **QUIET)
    assert (supernet.export_model(trained, tmp_path / "own") / "model.safetensors").is_file()


def test_labels_are_smoothed_once_with_mixup(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets that the task sees are shares of two classes, and the task's own smoothing is all there is."""
    from supernet.tasks.classification import ImageClassification

    seen: list[Tensor] = []
    loss = ImageClassification.loss

    def watched(self: Any, outputs: Tensor, targets: Tensor, *, training: bool) -> Tensor:
        seen.append(targets)
        return loss(self, outputs, targets, training=training)

    monkeypatch.setattr(ImageClassification, "loss", watched)
    recipe = {"mixup": 0.4, "smoothing": 0.1, "auxiliary": 0.0}
    supernet.retrain("DARTS_V2", images(24), recipe=recipe, **TINY)
    mixed = [targets for targets in seen if targets.ndim == 2]
    assert mixed
    assert all(((targets == 0).sum(1) >= 2).all() for targets in mixed), (
        "four classes, at most two of them in a mixture"
    )


def test_second_order_repeats_the_draws_of_dropout() -> None:
    """Finite difference and exact form agree on a smooth network with dropout: they differentiate one function."""
    from supernet.config import MethodConfig, WeightConfig
    from supernet.network import Supernet
    from supernet.tasks.classification import ImageClassification
    from supernet.train.bilevel import BilevelStep

    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.op = supernet.Choice({"one": partial(nn.Linear, 6, 6), "two": partial(nn.Linear, 6, 6, bias=False)})
            self.head, self.drop = nn.Linear(6, 3), nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.drop(torch.tanh(self.op(x))))

    estimates = {}
    for name in ("finite_difference", "exact"):
        net = Supernet(Space(Smooth), seed=0).double()
        step = BilevelStep(
            net, ImageClassification(3), method=MethodConfig(hypergradient=name), weights=WeightConfig(lr=1.0)
        )
        generator = torch.Generator().manual_seed(1)
        batch = torch.randn(8, 6, generator=generator, dtype=torch.float64), torch.arange(8) % 3
        torch.manual_seed(2)
        estimates[name] = torch.cat([g.flatten() for g in step.alpha_gradients(batch, batch)[1]])
    torch.testing.assert_close(estimates["finite_difference"], estimates["exact"], rtol=1e-2, atol=1e-6)


def test_widths_that_do_not_fit_together_are_found_before_the_search() -> None:
    """Mixed, every width is the largest; decided, two choices that should be one part."""

    class Widths(nn.Module):
        def __init__(self, num_classes: int = 4) -> None:
            super().__init__()
            self.a = supernet.Conv2d(1, supernet.Choice([4, 8]), 3)
            self.b = supernet.Conv2d(supernet.Choice([4, 8]), num_classes, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)).mean((2, 3))

    with pytest.raises(SupernetError, match=r"decided as .* does not run: Conv2d takes . channels") as error:
        supernet.search(Widths, images(24), epochs=1, batch_size=8, **QUIET)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mobilenetv3_like", "autoformer_tiny"])
def test_exact_second_order_runs_on_layers_of_the_language(name: str) -> None:
    space = small_space(name)
    network = SMALL[name][1] | ({"image_size": 8} if name == "autoformer_tiny" else {})
    found = supernet.search(
        space, images(16), method="darts_exact", epochs=1, batch_size=4, network=network, **QUIET
    )  # fmt: skip
    assert found.done
