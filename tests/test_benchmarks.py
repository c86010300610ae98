"""The benchmarks: the original formulation is the network it claims to be, and the script's result is well formed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.space import get_space

NAMES = [  # ours -> the original formulation's
    (r"^body\.stem\.stem\.", "stem."),
    (r"^body\.", ""),
    (r"\.preprocess\.(\d)\.", r".preprocess\1."),
    (r"\.edges\.(\d+)\.(\d+)\.", r".edges.\1.ops.\2."),
    (r"\.ops\.([12])\.norm\.", r".ops.\1.1."),  # behind a pool
    (r"(\.ops\.3|\.preprocess0)\.1\.(conv_\d)\.", r"\1.\2."),
    (r"^alpha\.normal$", "alphas.0"),
    (r"^alpha\.reduce$", "alphas.1"),
]


@pytest.fixture
def original(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(root)
    from benchmarks import original

    return original


def renamed(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """A state dict of ours under the names of the original formulation, which are `own`."""
    found = {}
    for name, value in state.items():
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        if name not in own:  # the norm of a skip connection that halves: the third of three layers, or by its name
            name = re.sub(r"(\.ops\.3|\.preprocess0)\.2\.", r"\1.norm.", name)
        found[name] = value
    return found


def loss_and_gradients(
    net: nn.Module, images: Tensor, labels: Tensor, parameters: list[nn.Parameter]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    loss = F.cross_entropy(net(images), labels)
    return loss, torch.autograd.grad(loss, parameters)


def test_the_original_equals_the_reference(original: ModuleType) -> None:
    ours = Supernet(get_space("darts"), executor="reference", channels=4, layers=4, seed=0).double()
    plain = original.SearchNetwork(channels=4, layers=4).double()
    with torch.no_grad():
        for alpha in ours.alphas():
            alpha.normal_()  # near zero the operations would weigh alike, and a mixed-up order could pass
    plain.load_state_dict(renamed(ours.state_dict(), set(plain.state_dict())))
    images, labels = torch.randn(3, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 3, 9])
    loss, gradients = loss_and_gradients(ours, images, labels, ours.alphas())
    plain_loss, plain_gradients = loss_and_gradients(plain, images, labels, list(plain.alphas))
    torch.testing.assert_close(plain_loss, loss, rtol=0, atol=1e-10)
    torch.testing.assert_close(plain_gradients, gradients, rtol=0, atol=1e-10)
    assert min(float(g.abs().max()) for g in gradients) > 1e-6  # else the line above would compare zeros


def test_the_original_has_the_published_size(original: ModuleType) -> None:
    with torch.device("meta"):
        net = original.SearchNetwork(channels=16, layers=8)
    assert sum(p.numel() for p in net.weights()) == 1_930_618
    assert [tuple(alpha.shape) for alpha in net.alphas] == [(14, 8), (14, 8)]


def test_the_originals_step_computes_all_gradients_twice(original: ModuleType) -> None:
    net = original.SearchNetwork(channels=2, layers=3)
    watched = {"weight": net.classifier.weight, "alpha": net.alphas[0]}
    before = {name: p.detach().clone() for name, p in watched.items()}
    computed: list[str] = []
    for name, p in watched.items():
        p.register_hook(lambda g, name=name: computed.append(name))
    images, labels = torch.randn(2, 3, 8, 8), torch.tensor([0, 1])
    optimizers = torch.optim.Adam(net.alphas), torch.optim.SGD(net.weights(), lr=0.1)
    original.step(net, lambda batch: F.cross_entropy(net(images), labels), *optimizers, clip=5.0)
    assert sorted(computed) == ["alpha", "alpha", "weight", "weight"]
    assert not any(torch.equal(p, before[name]) for name, p in watched.items())


def test_the_script(root: Path, tmp_path: Path) -> None:
    """From another folder, without installing."""
    tiny = {"channels": 2, "layers": 1, "batch": 2, "size": 8, "threads": 1, "repeats": 2, "executors": "torch"}
    arguments = [f"--{name}={value}" for name, value in tiny.items()]
    line = [sys.executable, str(root / "benchmarks" / "step.py"), *arguments, "--json", "results"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results").iterdir()
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == f"step-{result['hardware']['name']}.json"
    assert result["settings"]["channels"] == 2 and result["hardware"]["torch"] == torch.__version__
    assert [r["name"] for r in result["results"]] == ["original", "torch"]
    for r in result["results"]:
        assert len(r["seconds"]) == 2 and min(r["seconds"]) > 0
        assert min(r["seconds"]) <= r["median"] <= max(r["seconds"])
        assert r["peak_bytes"] > 0
        assert r["name"] in done.stdout
    assert len({r["parameters"] for r in result["results"]}) == 1
    assert result["results"][0]["speed_up"] == 1


def test_a_worker_refuses_an_unknown_executor(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root)
    from benchmarks import worker

    settings = {"name": "torhc", "device": "cpu", "channels": 2, "layers": 1, "batch": 2, "size": 8, "bf16": False}
    with pytest.raises(SupernetError, match="torch"):
        worker.make(settings)


@pytest.mark.parametrize(
    ("worker", "message"),
    [('print(\'{"error": "no such executor"}\')', "original: no such executor"), ("", "original: ended")],
)
def test_a_workers_error_is_one_line(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    worker: str,
    message: str,
) -> None:
    monkeypatch.syspath_prepend(root)
    from benchmarks import step

    monkeypatch.setattr(step, "WORKER", tmp_path / "worker.py")
    step.WORKER.write_text(worker, encoding="utf-8")
    assert step.main(["--repeats", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


def test_the_script_of_latencies(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its result is well formed; what it says about this machine is no test's business."""
    monkeypatch.syspath_prepend(root)
    from benchmarks import latency

    tiny = {"channels": 2, "batch": 1, "size": 8, "networks": 3, "calibration": 2, "rounds": 1, "json": tmp_path}
    assert latency.main([*(f"--{name}={value}" for name, value in tiny.items()), "--spaces", "nas_bench_macro"]) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert path.name == f"latency-{result['hardware']['name']}.json" and result["settings"]["networks"] == 3
    (found,) = result["results"]
    assert found["space"] == "nas_bench_macro" and len(set(found["genotypes"])) == 3
    assert [len(found[key]) for key in ("measured", "predicted", "sums")] == [3, 3, 3]
    assert min(found["measured"] + found["predicted"]) > 0 and -1 <= found["spearman"] <= 1
    assert "nas_bench_macro" in capsys.readouterr().out
    assert latency.main(["--spaces", "dart"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown space 'dart'; did you mean 'darts'")


def test_ranks(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root)
    from benchmarks import latency

    assert latency.spearman([1.0, 2.0, 4.0, 3.0], [10.0, 20.0, 80.0, 70.0]) == pytest.approx(1)
    assert latency.spearman([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]) == pytest.approx(1 - 6 * 2 / (4 * 15))
