"""What every test gets: one thread a process, fixed seeds, no window, the same hypothesis examples each time."""

import os

# Before torch is loaded: the suite runs one process a core, and more threads than cores slow it several times over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import json
import logging
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """A shell that starts a command in the background has it ignore Ctrl-C, which tests send."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """No test depends on those that ran before it in its process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in this process sets up logging for all of it: later tests would see their output nowhere."""
    loggers = [logging.getLogger(name) for name in (None, "hydra", "supernet")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(autouse=True, scope="session")
def no_pages() -> None:
    """Runs in this process write no report.html, which costs half a second each; those of the tests of the page do."""
    from supernet.config import LogConfig

    LogConfig.__init__.__kwdefaults__["report"] = False


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`promise(what, number)` notes what a test has shown, for the table of promises in the README.

    The rows go to the JSON list in the file that the environment variable SUPERNET_PROMISES names; nowhere without it.
    """

    def note(what: str, number: str) -> None:
        if not (path := os.environ.get("SUPERNET_PROMISES")):
            return
        import fcntl

        with open(path, "a+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # tests run in several processes
            file.seek(0)
            rows = json.loads(file.read() or "[]")
            file.truncate(0)
            rows.append({"promise": what, "number": number, "test": request.node.nodeid.partition("[")[0]})
            file.write(json.dumps(rows, indent=2) + "\n")

    return note


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material beside the checkout; the test is skipped where there is none."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder ../shared beside this checkout")
    return folder
