"""The check of the kernels: what is kept of its answer, what it sees, and that blocks take several turns in it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from supernet.cuda_kernels import selfcheck
from supernet.cuda_kernels.gpu import compile as compiling
from supernet.cuda_kernels.gpu.launch import Launch
from supernet.cuda_kernels.selfcheck import CASES, CHECKED, faults, main, unproven
from supernet.errors import SupernetError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
FAULT = "node_mix (9, 16, 17, 15) torch.float32: off by 1.00e+00"
SMALL = {  # what bounds the grids
    "node_mix.mix": ("BLOCKS", "PARTIALS"),
    "node_mix.shuffled": ("BLOCKS",),
    "pool_pair.pair": ("PARTIALS",),
    "separable.forward": ("BLOCKS",),
    "separable.backward": ("BLOCKS",),
}
LAUNCHING = ("node_mix.mix", "node_mix.shuffled", "pool_pair.pair", "separable.edge_group", "separable.sep_second")
SEVERAL = {
    "edge_group_bwd_weights",
    "edge_group_fwd",
    "node_mix_bwd_reduce",
    "node_mix_fwd",
    "node_mix_shuffled",
    "pool_pair_fwd",
    "sep_second_bwd_weights",
    "sep_second_fwd",
}  # kernels whose blocks go on to further pixels or tiles


def module(name: str) -> Any:
    return import_module(f"supernet.cuda_kernels.{name}")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The process of the check does not run: `answer` is what it gives; `calls` are how it was started."""
    found = SimpleNamespace(answer=(0, f"no fault\n{CHECKED}\n", ""), calls=[], folder=tmp_path / "kernels")

    def run(line: list[str], **settings: Any) -> Any:
        found.calls.append((line, settings))
        if isinstance(found.answer, Exception):
            raise found.answer
        return SimpleNamespace(**dict(zip(("returncode", "stdout", "stderr"), found.answer, strict=True)))

    monkeypatch.setenv("SUPERNET_CACHE", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(compiling, "compiler_version", lambda: (13, 0))
    return found


def ask() -> str | None:
    """As a new process would."""
    unproven.cache_clear()
    try:
        return unproven(GPU)
    finally:
        unproven.cache_clear()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0, f"no fault\n{CHECKED}\n", "a warning\n"), None),
        ((1, f"{FAULT}\nanother\n{CHECKED}\n", "a warning\n"), FAULT),
    ],
)
def test_an_answer_is_kept(asked: SimpleNamespace, answer: Any, said: str | None) -> None:
    asked.answer = answer
    expected = said and f"the kernels failed their check on this GPU ({said})"
    assert ask() == ask() == expected
    assert len(asked.calls) == 1
    (file,) = asked.folder.iterdir()
    assert json.loads(file.read_text()) == {"faults": [said] if said else []}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((1, "", "Traceback\nModuleNotFoundError: No module named 'supernet'\n"), "No module named 'supernet'"),
        ((-9, "", ""), "exit code -9"),
        ((0, "", ""), "exit code 0"),
        ((-11, f"no fault\n{CHECKED}\n", ""), "exit code -11"),
        ((1, f"{FAULT}\n", "killed\n"), FAULT),
        ((1, f"node_mix: CUDA out of memory. Tried to\n{CHECKED}\n", ""), "out of memory"),
        ((1, f"node_mix: cuLaunchKernel answers CUDA_ERROR_OUT_OF_MEMORY\n{CHECKED}\n", ""), "OUT_OF_MEMORY"),
        ((1, f"node_mix: all CUDA-capable devices are busy or unavailable\n{CHECKED}\n", ""), "busy"),
        (subprocess.TimeoutExpired("python", 300), "no answer within 300 s"),
        (OSError(12, "Cannot allocate memory"), "cannot be started: Cannot allocate memory"),
    ],
)
def test_what_passes_is_asked_again(asked: SimpleNamespace, answer: Any, said: str) -> None:
    asked.answer = answer
    assert said in (unproven(GPU) or "")
    assert said in (unproven(GPU) or "") and len(asked.calls) == 1, "once in this process"
    assert not list(asked.folder.glob("*"))
    asked.answer = (0, f"no fault\n{CHECKED}\n", "")
    assert ask() is None and ask() is None
    assert len(asked.calls) == 2


def test_a_folder_that_cannot_be_written_costs_a_warning(
    asked: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    asked.folder.touch()
    assert ask() is None
    assert "not kept" in caplog.text


def test_it_runs_this_package_from_any_folder(
    asked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, root: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", ["", str(root), str(tmp_path)])
    ask()
    ((line, settings),) = asked.calls
    assert line[1:] == ["-m", "supernet.cuda_kernels.selfcheck", "cuda:0"]
    assert settings["env"]["PYTHONPATH"] == os.pathsep.join([str(root), str(tmp_path)])
    assert settings["env"]["SUPERNET_CACHE"] == str(tmp_path)


def test_another_driver_is_asked_anew(asked: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def driver(version: Any) -> Callable[[str], Any]:
        return lambda name: SimpleNamespace(cuDriverGetVersion=lambda: (0, version))

    def none(name: str) -> Any:
        raise SupernetError("no bindings")

    keys = []
    for found in (driver(13000), driver(13010), none):
        monkeypatch.setattr(compiling, "bindings", found)
        keys.append(selfcheck._key(0))
    assert len(set(keys)) == 3


def test_right_kernels_have_no_fault_and_wrong_ones_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the processor, whose bodies stand in for the kernels."""
    for name, constants in SMALL.items():  # set back afterwards
        for constant in constants:
            monkeypatch.setattr(module(name), constant, getattr(module(name), constant))
    assert main(["cpu"]) == 0
    assert capsys.readouterr().out.splitlines() == ["no fault", CHECKED]
    right = module("node_mix.mix").node_mix

    def wrong(z: list[torch.Tensor], *rest: Any) -> torch.Tensor:
        return right(z, *rest) + (z[0].dtype != torch.float64)

    monkeypatch.setattr(module("node_mix.mix"), "node_mix", wrong)
    found = faults(CPU)
    assert len(found) == 2 * len(CASES) and all(line.startswith("node_mix") and "off by" in line for line in found)


def test_blocks_take_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids as they are give each block a single turn here: fewer blocks, for kernels that allow that, give several."""

    def noted() -> list[Launch]:
        found: list[Launch] = []
        for name in LAUNCHING:
            monkeypatch.setattr(module(name), "launch", lambda launches, device: found.extend(launches))
        for dtype in selfcheck.ALLOWED:
            for case in CASES:
                for _, operator, arguments in selfcheck._calls(case, dtype):
                    with monkeypatch.context() as inside:
                        inside.setattr(torch.Tensor, "is_cuda", True, raising=False)
                        operator(*arguments)
        return found

    usual = noted()
    for name, constants in SMALL.items():
        for constant in constants:
            monkeypatch.setattr(module(name), constant, getattr(module(name), constant))
    selfcheck._small_grids()
    small = noted()
    assert [one.kernel for one in usual] == [one.kernel for one in small]
    fewer, same = blocks(usual, small, lambda a, b: b < a), blocks(usual, small, lambda a, b: b == a)
    assert fewer == SEVERAL and not fewer & same
    wide = {one.kernel.name.partition("<")[0] for one in small if one.grid[0] > 1}
    assert wide >= SEVERAL, "and there are several blocks"
    assert any(", true>" in one.kernel.name for one in small), "kernels with a gate"


def blocks(usual: Iterable[Launch], small: Iterable[Launch], how: Callable[[int, int], bool]) -> set[str]:
    """The kernels of which some launch has that many blocks in a row."""
    pairs = zip(usual, small, strict=True)
    return {one.kernel.name.partition("<")[0] for one, other in pairs if how(one.grid[0], other.grid[0])}
