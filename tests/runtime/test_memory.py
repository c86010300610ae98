"""Out of memory is one line, and the deterministic mode leaves nothing behind."""

import contextlib
import logging
import os
from pathlib import Path

import pytest
import torch

from supernet.cli.exit_codes import guarded
from supernet.config import RetrainConfig, SearchConfig, from_mapping
from supernet.errors import MemoryShortError
from supernet.runtime.device import deterministic
from supernet.runtime.out_of_memory import memory_in_one_line, peak
from supernet.stages.run_search import run_search
from supernet.train.loop import Loop
from tests.support.searches import final_state, same, search_config

HUGE = 10**15


def test_the_processors_allocator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real refusal, in the middle of a stage: one line, exit code 1, and no run folder is spoilt."""
    monkeypatch.setattr(Loop, "_epoch", lambda *_: torch.empty(HUGE))
    config = search_config(tmp_path, "darts", "darts_first_order")
    assert guarded(lambda: run_search(config) and 0) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: out of memory for 3725290.30 GiB more; the peak was ")
    assert error.endswith("Turn down batch_size=10, network.channels=2, network.layers=3\n")


def test_the_gpus_allocator() -> None:
    text = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB"
    config = from_mapping(RetrainConfig, {"batch_size": 96, "data": {"image_size": 224}})
    with pytest.raises(MemoryShortError, match=r"for 20.00 MiB more; .*Turn down batch_size=96, network.channels, "
                       r"data.image_size=224, or set amp=bf16$"), memory_in_one_line(config):  # fmt: skip
        raise torch.OutOfMemoryError(text)


def test_numpys_allocator_and_other_errors() -> None:
    config = SearchConfig()
    with pytest.raises(MemoryShortError, match="out of memory; the peak"), memory_in_one_line(config):
        raise MemoryError
    with pytest.raises(RuntimeError, match="^shapes differ$"), memory_in_one_line(config):
        raise RuntimeError("shapes differ")


def test_the_peak_is_in_bytes() -> None:
    assert 50 * 2**20 < peak(torch.device("cpu")) < 64 * 2**30


def state() -> tuple[object, ...]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return *flags, cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32


@pytest.mark.parametrize("workspace", [None, ":16:8", ":0:0"])
def test_the_deterministic_mode_ends(workspace: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "CUBLAS_WORKSPACE_CONFIG"
    monkeypatch.delenv(name, raising=False)
    if workspace is not None:
        monkeypatch.setenv(name, workspace)
    before = state()
    with contextlib.suppress(ZeroDivisionError), deterministic(True):
        assert state() == (True, False, True, False, False, False)
        assert os.environ[name] == (":16:8" if workspace == ":16:8" else ":4096:8")
        raise ZeroDivisionError
    assert state() == before and os.environ.get(name) == workspace
    with deterministic(False):
        assert state() == before


def test_a_deterministic_search_says_so_and_ends_with_the_same_bits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = state()
    for folder in ("one", "other"):
        config = search_config(tmp_path / folder, "darts", "darts_first_order", deterministic=True)
        with caplog.at_level(logging.INFO):
            run_search(config, until=3)
    assert [r.message for r in caplog.records if r.message.startswith("deterministic: ")]
    assert state() == before
    same(final_state(tmp_path / "one"), final_state(tmp_path / "other"))
