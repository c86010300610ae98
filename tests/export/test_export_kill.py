"""An export that is killed half-way: timm's create_model opens a whole model or refuses, never half of one."""

import functools
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import supernet.timm_models  # noqa: F401  # registers the names
from supernet.export import export_model, folder
from supernet.network import build
from supernet.space import published
from tests.support.forked import ended, fork

CELL = published("PDARTS")
ARGUMENTS: dict[str, Any] = {"channels": 2, "layers": 1, "num_classes": 3}
X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FILE_WORK = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod")  # what the interpreter tells of


@functools.cache
def network(seed: int) -> nn.Module:
    return build(CELL, seed=seed, **ARGUMENTS).eval()


def output(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        return model(X)


def export(seed: int, target: Path) -> None:
    export_model(network(seed), CELL, target, arguments=ARGUMENTS)


def watch(target: Path, act: Callable[[int], None]) -> None:
    """Calls `act` with 1, 2, ... before each change to a file at or beside `target`; it cannot be undone."""
    count = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILE_WORK and str(target.parent) in str(args[0]):
            count += 1
            act(count)

    sys.addaudithook(hook)


def killed_at(number: int, target: Path, seed: int) -> int:
    def work() -> None:
        watch(target, lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None)
        export(seed, target)

    return ended(fork(work))


def killed_in_the_weights(share: float, target: Path, seed: int) -> int:
    """Killed when this share of the weights' file is written, in (0, 1)."""

    def half(state: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
        save_file(state, path, metadata)
        os.truncate(path, int(share * path.stat().st_size))
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        folder.save_file = half  # type: ignore[attr-defined]  # in this child only
        export(seed, target)

    save_file = folder.save_file  # type: ignore[attr-defined]
    return ended(fork(work))


def opened(path: Path) -> Tensor | None:
    """The output of the model that create_model makes of the folder; None where it refuses."""
    try:
        model = timm.create_model(f"local-dir:{path}", pretrained=True)
    except Exception:  # whatever timm and safetensors raise; which error it is, is theirs to say
        return None
    return output(model.eval())


@pytest.fixture(scope="module")
def outputs() -> list[Tensor]:
    return [output(network(seed)) for seed in (1, 2)]


def accepted_half(target: Path, whole: list[Tensor]) -> list[str]:
    """Folders, the leavings too, that open as anything but the whole earlier or the whole later model."""
    outputs = {path.name: opened(path) for path in target.parent.iterdir()}
    return [name for name, out in outputs.items() if out is not None and not any(torch.equal(out, w) for w in whole)]


def test_an_export_killed_half_way_is_never_accepted(tmp_path: Path, outputs: list[Tensor], promise: Any) -> None:
    refused = trials = 0
    earlier = tmp_path / "earlier"
    export(1, earlier)
    for i, share in enumerate((0.01, 0.2, 0.4, 0.6, 0.8, 0.99)):
        target = tmp_path / f"weights{i}" / "model"
        assert killed_in_the_weights(share, target, 2) == -signal.SIGKILL
        assert not target.exists() and list(target.parent.iterdir()), "killed while it was written aside"
        trials, refused = trials + 1, refused + (not accepted_half(target, outputs))
    for before in (False, True):
        for number in range(1, 60):
            target = tmp_path / f"{number}-{before}" / "model"
            target.parent.mkdir()
            if before:
                shutil.copytree(earlier, target)
            status = killed_at(number, target, 2)
            if status == 0:
                break
            assert status == -signal.SIGKILL
            trials, refused = trials + 1, refused + (not accepted_half(target, outputs))
            if number % 4 == 0:  # each time would cost seconds
                export(2, target)
                assert torch.equal(opened(target), outputs[1]), "the same command puts it right"
        assert number >= 8, "the watch sees the files"
    assert refused == trials >= 20
    promise("SIGKILL at each file of an export, create_model never opens half of one", f"{refused}/{trials}")


def test_the_check_itself(tmp_path: Path, outputs: list[Tensor]) -> None:
    target = tmp_path / "model"
    export(1, target)
    assert accepted_half(target, outputs) == [] and accepted_half(target, outputs[1:]) == ["model"]
    weights = target / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert opened(target) is None
