"""The benchmarks: the original formulation is the network it claims to be, and the scripts' results are well formed.

What they say about this machine is no test's business.
"""

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

from benchmarks import gpu_suite
from benchmarks.common import worker as client
from benchmarks.kernels import cases, kernels
from benchmarks.steps import compiled, formulations, scaling, search, step
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
    from benchmarks.steps import original

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


TINY = {"part": "step", "device": "cpu", "channels": 2, "layers": 1, "batch": 2, "size": 8, "bf16": False, "threads": 1}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torhc", "unknown executor 'torhc'; did you mean 'torch'"),
        ("original+chanels_last", "did you mean 'channels_last'"),
        ("torch+compiled", "unknown variant of torch 'compiled'"),
        ("original+edges", r"forms of \+compiled"),
        ("original+compiled+graphs", "needs a GPU"),
    ],
)
def test_unknown_formulations_are_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SupernetError, match=message):
        formulations.make(TINY | {"name": name})


def test_a_compiled_formulation_compiles_the_network_or_its_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def compile_whole(net: nn.Module, **_: object) -> nn.Module:
        compiled.append(type(net).__name__)
        return net

    monkeypatch.setattr(torch, "compile", compile_whole)
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(type(module).__name__))
    # 16 channels: with fewer, a backward of torch 2.14 in channels_last may write outside its buffers.
    for name in ("original+channels_last+compiled", "original+compiled+edges"):
        run, _ = formulations.make(TINY | {"name": name, "channels": 16})
        run()
    assert compiled == ["SearchNetwork", *["MixedOperation"] * 14]


@pytest.mark.parametrize(
    ("worker", "message"),
    [('print(\'{"error": "no such executor"}\')', "original: no such executor"), ("", "original: ended")],
)
def test_a_workers_error_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], worker: str, message: str
) -> None:
    monkeypatch.setattr(client, "SCRIPT", tmp_path / "serve.py")
    client.SCRIPT.write_text(worker, encoding="utf-8")
    assert step.main(["--repeats", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}") and error.count("\n") == 1


@pytest.mark.long
def test_a_formulation_that_takes_too_long_or_fails_says_so_in_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "SCRIPT", tmp_path / "serve.py")
    client.SCRIPT.write_text(
        "import json, sys, time\n"
        "name = json.loads(sys.argv[1])['name']\n"
        "say = lambda message: print(json.dumps(message), flush=True)\n"
        "where = {'name': 'here', 'gpu': 'none', 'torch': '', 'python': '', 'platform': ''}\n"
        "say({'parameters': 1, 'hardware': where})\n"
        "for line in sys.stdin:\n"
        "    if 'compiled' in name:\n"
        "        time.sleep(60)\n"
        "    say({'error': 'no room'} if name == 'torch' else {'seconds': 0.5})\n"
        "say({'peak_bytes': 1, 'total_bytes': 2})\n",
        encoding="utf-8",
    )
    arguments = ["--repeats", "2", "--limit", "1"]
    assert step.main([*arguments, "--compile", "--json", str(tmp_path / "results")]) == 1
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["step-here.json"]
    out = capsys.readouterr().out
    assert "original+compiled: not finished in 1 s" in out and "torch: no room" in out
    assert re.search(r"reference +0\.5000", out)  # the others are measured all the same
    assert step.main(arguments) == 0  # what is measured as a matter of course may be missing
    assert compiled.main([*arguments, "--forms", "original+compiled"]) == 1


@pytest.mark.parametrize("name", list(cases.HOME))
def test_operators_equal_their_unfused_form_in_float64(name: str) -> None:
    """The oracle of the benchmarks is written anew, so it and the operators' own references prove one another."""
    sizes = (2, 8, 7, 5, 5)
    for spec in (cases.Spec(name, *sizes), cases.Spec(name, *sizes, stride=2)):
        if spec.stride == 2 and not name.startswith(("edge_group", "pool_pair")):
            continue
        for dtype in (torch.float64, torch.float32):
            case = cases.Case(spec, dtype, torch.device("cpu"))
            assert case.check() == ""
            assert case.moved() > 0 and case.operations() > 0
            assert dtype == torch.float64 or case.kernels()  # what a GPU would launch
            case.poison()
            assert case.check() == ""


def test_the_script_of_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = [
        "--batch=1",
        "--repeats=1",
        "--threads=1",
        "--copy=100000",
        "--body=stock",
        "--only",
        "node_mix",
        "pool_pair",
    ]
    assert kernels.main([*tiny, "--json", str(tmp_path)]) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["copy_bytes_per_second"] > 0 and len(result["results"]) == 8
    for row in result["results"]:
        assert min(row["seconds"], row["eager_seconds"], row["bytes"], row["share_of_copy"]) > 0
        assert row["registers"] is None or (row["registers"] > 8 and row["kernels"])
    good = cases._find("node_mix.mix", "node_mix")
    monkeypatch.setattr(cases, "_find", lambda *_: lambda *inputs: 1.001 * good(*inputs))
    assert kernels.main([*tiny[:-1]]) == 1
    assert capsys.readouterr().out.count("wrong, so not timed: output 0") == 6


@pytest.mark.long
def test_the_script_of_scaling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "GROWTH", {"operations": (2,), "nodes": (1, 2), "batch": (1,)})
    tiny = {"channels": 2, "layers": 1, "batch": 2, "size": 8, "threads": 1, "repeats": 3, "executor": "torch"}
    assert scaling.main([*(f"--{name}={value}" for name, value in tiny.items()), f"--json={tmp_path}"]) == 0
    (path,) = tmp_path.iterdir()
    rows = json.loads(path.read_text(encoding="utf-8"))["results"]
    assert [(r["what"], r.get("value")) for r in rows] == [
        ("operations", 2), ("nodes", 1), ("nodes", 2), ("batch", 2),
        ("one path by mask", 2), ("one path by mask", 7), ("one path by gate", 2), ("one path by gate", 7),
    ]  # fmt: skip
    assert "on the device" in rows[-1]["error"]  # only the fused executors have gates


def test_one_path_runs_one_operation_an_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    plain = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda layer, x: ran.append(str(layer.groups)) or plain(layer, x))
    settings = TINY | {"executor": "reference", "nodes": 2, "operations": 8}
    scaling.one_path(settings, 7, "mask")()
    assert (
        sum(groups != "1" for groups in ran) == 2 * 5
    )  # sep_conv_3x3 has two depthwise filters, and there are 5 edges


@pytest.mark.long
def test_the_script_of_searches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = {"channels": 2, "layers": 1, "batch": 4, "size": 8, "threads": 1, "steps": 3, "images": 24}
    arguments = [f"--{name}={value}" for name, value in tiny.items()]
    assert search.main([*arguments, "--executor=torch", "--validate", f"--json={tmp_path}"]) == 0
    (path,) = tmp_path.iterdir()
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["steps"] == 50 * (25_000 // 4) and result["executor"] == "torch" and not result["captured"]
    assert result["images_per_second"] == pytest.approx(8 / result["seconds_per_step"])
    assert result["minutes"] > result["minutes_of_steps"] > 0 and 0 <= result["validation"]["top1"] <= 1
    assert "no CUDA graph" in capsys.readouterr().out
    assert search.main([*arguments, "--data=nowhere"]) == 2
    assert capsys.readouterr().err.startswith("error: data.root=nowhere is no folder")
    with pytest.raises(SystemExit) as ended:
        search.main(["--steps=0"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("argument --steps: '0' is not a whole number of 1 or more")


def test_the_suite_needs_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_suite.main(["--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this needs a GPU") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_suite_and_its_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each script is a process of its own, in another folder and without installing."""
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert gpu_suite.main(["--device=cpu", "--quick", f"--out={out}", "--only", "checks", "pass"]) == 0
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert [part["status"] for part in summary["parts"].values()] == ["ok"] * 3
    assert summary["parts"]["checks-node_mix"]["found"] == "4 cases, 0 wrong"
    assert "torch" in summary["parts"]["pass"]["found"]
    assert summary["hardware"]["torch"] == torch.__version__
    parts = ("checks-edge_group", "checks-node_mix", "pass")
    assert {path.name for path in out.iterdir()} == {
        "summary.json",
        *(f"{part}.{kind}" for part in parts for kind in ("json", "txt")),
    }
    check_steps(json.loads((out / "pass.json").read_text(encoding="utf-8")), (out / "pass.txt").read_text())


def check_steps(result: dict[str, Any], text: str) -> None:
    """What the script of steps says of the original and of one executor."""
    assert result["settings"]["channels"] == 2 and result["hardware"]["torch"] == torch.__version__
    assert [r["name"] for r in result["results"]] == ["original", "torch"]
    for r in result["results"]:
        assert len(r["seconds"]) == 3 and min(r["seconds"]) > 0
        assert min(r["seconds"]) <= r["median"] <= max(r["seconds"])
        assert 0 < r["peak_bytes"] < r["total_bytes"]
        assert r["name"] in text
    assert len({r["parameters"] for r in result["results"]}) == 1
    assert result["results"][0]["speed_up"] == 1


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_whole_suite(root: Path, tmp_path: Path) -> None:
    line = [sys.executable, str(root / "benchmarks" / "gpu_suite.py"), "--device=cpu", "--quick", "--out=out"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert {"checks-edge_group", "pass", "step", "kernels", "search", "scaling"} <= set(summary["parts"])


def test_an_operator_that_is_wrong_is_not_timed() -> None:
    names = {"node_mix": "failed", "pool_pair": "ok"}
    checked = [
        gpu_suite.Part(f"checks-{name}", "kernels/checks.py", [], 1, 0, status) for name, status in names.items()
    ]
    kernels_part = gpu_suite.Part("kernels", "kernels/kernels.py", ["--bf16"], 1, 1)
    assert gpu_suite.may_run(kernels_part, [*checked, kernels_part])
    assert kernels_part.arguments == ["--bf16", "--only", "pool_pair"]
    assert not gpu_suite.may_run(kernels_part, checked[:1])
    assert kernels_part.status == "not run: no operator is right"


def test_a_part_that_hangs_or_fails_costs_only_itself(tmp_path: Path) -> None:
    texts = {"hangs": "import time; time.sleep(60)", "fails": "raise SystemExit(3)", "works": "print('fine')"}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    found = [gpu_suite.Part(name, str(tmp_path / f"{name}.py"), [], 2, 0) for name in texts]
    gpu_suite.run_wave(found, tmp_path, 60)
    assert [part.status for part in found] == ["not finished in 2 s", "failed (exit code 3; fails.txt)", "ok"]
    assert (tmp_path / "works.txt").read_text(encoding="utf-8") == "fine\n"


@pytest.mark.long
def test_no_benchmark_needs_hydra_and_the_kernels_need_torch_alone(root: Path) -> None:
    """In one process: the kernels are timed where all else is absent, then all is imported where Hydra is."""
    hydra, others = (
        ["hydra", "omegaconf"],
        ["timm", "torchvision", "matplotlib", "tensorboard", "sklearn", "PIL", "scipy"],
    )
    tiny = ["--batch=1", "--repeats=1", "--threads=1", "--copy=100000", "--body=stock", "--only", "node_mix"]
    paths = sorted((root / "benchmarks").rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({hydra + others}))\n"
        f"from benchmarks.kernels import kernels\nassert kernels.main({tiny}) == 0\n"
        f"for name in {others}: del sys.modules[name]\n"
    )
    code += "".join(f"import {name}\n" for name in names)
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "node_mix" in done.stdout


def test_the_script_of_latencies(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its result is well formed; what it says about this machine is no test's business."""
    monkeypatch.syspath_prepend(root)
    from benchmarks.cost import latency

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
    from benchmarks.cost import latency

    assert latency.spearman([1.0, 2.0, 4.0, 3.0], [10.0, 20.0, 80.0, 70.0]) == pytest.approx(1)
    assert latency.spearman([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]) == pytest.approx(1 - 6 * 2 / (4 * 15))
