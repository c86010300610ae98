"""A new operation, space, executor or part of a method touches at most three files: its own, one import line, one YAML.

Each dummy here is written to files, imported as the one line would import it, and searched with for an epoch from
the command line. Nothing else of the package is touched.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from supernet.cli import main
from supernet.methods.parts import SAMPLERS
from supernet.network import EXECUTORS
from supernet.ops import OPERATIONS
from supernet.registry import Registry
from supernet.space import SPACES, Genotype

OPERATION = '''"""A dummy operation: the mean of the image, at every pixel."""
from torch import Tensor, nn
from supernet.ops import OPERATIONS

class Mean(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.stride, self.mix = stride, nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x.mean((2, 3), keepdim=True).expand_as(x)[:, :, :: self.stride, :: self.stride])

@OPERATIONS.register("dummy")
def mean(c_in, c_out, stride, affine):
    return Mean(c_in, c_out, stride)
'''
SPACE = '''"""A dummy space: cells of two nodes."""
from supernet.space import SPACES, EdgeCells

@SPACES.register("dummy")
def dummy(operations=("skip_connect", "nor_conv_1x1")):
    return EdgeCells(
        "dummy", {"operations": list(operations)}, kinds=("cell",), inputs=1, nodes=2,
        operations=tuple(operations), macro="nasbench201",
    )
'''
SPACE_YAML = """# @package _global_
space:
  name: dummy
network:
  channels: 4
  cells_per_stage: 1
"""
EXECUTOR = '''"""A dummy executor: the reference, which counts its passes."""
from supernet.network import EXECUTORS

PASSES = []

@EXECUTORS.register("dummy")
class Counting(EXECUTORS["reference"]):
    name = "dummy"

    def __call__(self, *arguments):
        PASSES.append(1)
        return super().__call__(*arguments)
'''
PART = '''"""A dummy sampler: mixing weights with counted noise."""
from supernet.methods.parts import SAMPLERS, Sampler

DRAWS = []

@SAMPLERS.register("dummy")
class Noisy(Sampler):
    def __init__(self, scale=0.1):
        super().__init__()
        self.scale = scale

    def forward(self, p_EO, alpha_EO, noise_EO):
        DRAWS.append(self.scale)
        return p_EO * (1 + self.scale * noise_EO), None
'''
METHOD_YAML = """# @package _global_
method:
  name: dummy
  sampler: {name: dummy, scale: 0.5}
alphas:
  lr: 0.01
"""
TINY = ["epochs=1", "batch_size=8", "data.limit=32", "network.channels=4", "network.cells_per_stage=1", "device=cpu"]
Extend = Callable[..., list[Path]]


@pytest.fixture
def extend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extend:
    """Writes files and imports the module among them; returns the files. What it registers is gone after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "written")

    def write(registry: Registry[object], module: str, texts: dict[str, str]) -> list[Path]:
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        for name, text in texts.items():
            path = tmp_path / "written" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        importlib.import_module(module)  # the one line of the package's __init__
        monkeypatch.delitem(sys.modules, module)
        return [path for path in (tmp_path / "written").rglob("*") if path.suffix in (".py", ".yaml")]

    return write


def search(tmp_path: Path, *overrides: str) -> Genotype:
    """What a search of one epoch finds; `overrides` come first."""
    assert main(["search", *overrides, *TINY, f"run.root={tmp_path / 'runs'}", "run.name=run"]) == 0
    rows = (tmp_path / "runs" / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert any("alpha/mean_entropy" in json.loads(row) for row in rows)
    return Genotype.load(tmp_path / "runs" / "run" / "genotype.json")


def test_an_operation_is_a_file_and_a_line(extend: Extend, tmp_path: Path) -> None:
    files = extend(OPERATIONS, "dummy_operation", {"dummy_operation.py": OPERATION})
    assert len(files) + 1 <= 3
    found = search(tmp_path, "space=nasbench201", "space.args.operations=[dummy]")
    assert set(found.decisions.values()) == {"dummy"}


def test_a_space_is_a_file_a_line_and_a_yaml(extend: Extend, tmp_path: Path) -> None:
    files = extend(SPACES, "dummy_space", {"dummy_space.py": SPACE, "space/dummy.yaml": SPACE_YAML})
    assert len(files) + 1 <= 3
    found = search(tmp_path, "--config-dir", str(tmp_path / "written"), "space=dummy")
    assert found.space == "dummy" and len(found.decisions) == 3


def test_an_executor_is_a_file_and_a_line(extend: Extend, tmp_path: Path) -> None:
    files = extend(EXECUTORS, "dummy_executor", {"dummy_executor.py": EXECUTOR})
    assert len(files) + 1 <= 3
    passes = EXECUTORS["dummy"].__call__.__globals__["PASSES"]
    search(tmp_path, "space=nasbench201", "space.args.operations=[skip_connect,nor_conv_1x1]", "executor=dummy")
    assert passes


def test_a_part_and_its_method_are_a_file_a_line_and_a_yaml(extend: Extend, tmp_path: Path) -> None:
    files = extend(SAMPLERS, "dummy_part", {"dummy_part.py": PART, "method/dummy.yaml": METHOD_YAML})
    assert len(files) + 1 <= 3
    draws = SAMPLERS["dummy"].forward.__globals__["DRAWS"]
    search(tmp_path, "--config-dir", str(tmp_path / "written"), "space=nasbench201", "method=dummy")
    assert set(draws) == {0.5}
    config = json.loads((tmp_path / "runs" / "run" / "config.json").read_text(encoding="utf-8"))["config"]
    assert config["alphas"]["lr"] == 0.01, "a method's preset may set anything"
