"""Told to stop: the loop finishes its step, saves, and says so by its exit code; asked twice it ends at once."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supernet import cli
from supernet.cli.exit_codes import guarded
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.signals import Interrupted, StopSignals
from supernet.stages.run_search import run_search
from supernet.train.search import SearchProgram
from tests.support.searches import final_state, same, search_config

KINDS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 143}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Whatever a test does, the handlers of the test runner come back."""
    before = {kind: signal.getsignal(kind) for kind in KINDS}
    yield
    after = {kind: signal.getsignal(kind) for kind in KINDS}
    for kind, handler in before.items():
        signal.signal(kind, handler)
    assert after == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_sets_a_flag_and_the_second_is_the_systems(kind: signal.Signals) -> None:
    with StopSignals() as stop:
        assert stop.received is None
        stop.raise_received()
        os.kill(os.getpid(), kind)
        assert stop.received == kind
        assert all(signal.getsignal(other) is signal.SIG_DFL for other in KINDS)
        with pytest.raises(Interrupted, match=kind.name) as caught:
            stop.raise_received()
        assert caught.value.code == KINDS[kind]
    with stop:
        assert stop.received is None, "a new beginning"


def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stop.received is None
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)


def test_other_threads_change_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("kind", KINDS)
def test_exit_codes_and_the_one_line(kind: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise Interrupted(kind)

    assert guarded(work) == KINDS[kind]
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"


def send_in_step(monkeypatch: pytest.MonkeyPatch, number: int, kind: int) -> None:
    """The step `number` sends this process the signal, once."""
    inner, sent = SearchProgram.step, []

    def step(self: SearchProgram, batch: Any, epoch: int, at: int) -> Any:
        if at == number and not sent:
            sent.append(at)
            os.kill(os.getpid(), kind)
        return inner(self, batch, epoch, at)

    monkeypatch.setattr(SearchProgram, "step", step)


@pytest.mark.parametrize("number", [1, 2])
def test_the_step_is_finished_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """In the middle of an epoch and in its last step, whose validation is not lost."""
    send_in_step(monkeypatch, number, signal.SIGUSR1)
    config = search_config(tmp_path, "darts", "darts_first_order", checkpoint={"every_steps": 0})
    with pytest.raises(Interrupted):
        run_search(config)
    assert Checkpoints(tmp_path / "run" / "checkpoints").steps == [number + 1]
    run_search(config)
    run_search(search_config(tmp_path / "whole", "darts", "darts_first_order"))
    same(final_state(tmp_path), final_state(tmp_path / "whole"))


def test_a_run_in_memory_leaves_signals_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There would be nothing to go on from, so Ctrl-C is what it is everywhere."""
    send_in_step(monkeypatch, 1, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_search(search_config(tmp_path, "darts", "darts_first_order"), in_folder=False)
    assert not isinstance(caught.value, Interrupted)


def test_the_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send_in_step(monkeypatch, 1, signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    command = ["epochs=1", "batch_size=10", "data.limit=60", "space.args={nodes: 2}", "log.progress=false"]
    command += ["network={channels: 2, layers: 3}", "run.name=a", "log.tensorboard=false"]
    assert cli.search(command) == 143
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; the same command goes on"
    assert Checkpoints(tmp_path / "runs" / "a" / "checkpoints").steps == [2]
    assert cli.search(command) == 0
    assert "genotype" in capsys.readouterr().out
