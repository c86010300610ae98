"""Hostile genotypes, space files and command lines, 250 (10,000 in the long run): accepted, or one line of error.

Each in at most 2 s of the processor and 200 MB, and nothing in it is executed: watched.py says how that is seen.
"""

import contextlib
import io
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from supernet.cli import main
from supernet.cli import program as program_module
from supernet.errors import SupernetError
from supernet.network import build
from supernet.space import Genotype, space_of
from supernet.space.form import load_space
from supernet.space.space import Space
from tests.support import hostile
from tests.support.hostile_lines import EVIL, LINES, words
from tests.support.watched import watch, watchable
from tests.support.zoo_small import SMALL

pytestmark = pytest.mark.skipif(not watchable(), reason="this system does not tell the memory that a case took")
CANARY = "open('canary.struck', 'w').close()\ndef strike(*a, **k):\n    import canary\n"


def read_genotype(path: Path) -> None:
    """What a command does with a genotype file, up to the network."""
    genotype = Genotype.load(path)
    space_of(genotype)
    _, arguments = SMALL.get(genotype.space, ({}, {"channels": 2}))
    with torch.device("meta"):
        build(genotype, **({} if genotype.space in ("darts_rnn", "grammar") else arguments))


def read_space(path: Path) -> None:
    """What a command does with a space file: the space, and a point of it."""
    space: Space = load_space(path)
    assert space.size > 0
    space.validate(space.sample(random.Random(0)))


def read_line(argv: list[str]) -> None:
    """The command up to where Hydra's own main would begin; raises what it says as SupernetError."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(argv)
    if code == 0:
        assert error.getvalue() == ""
        return
    said = error.getvalue()
    assert code == 2 and out.getvalue() == "" and said.startswith("error: ") and said.endswith("\n"), said
    raise SupernetError(said[:-1])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty; a module that leaves a trace where it is imported or called lies beside it, within reach."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(program_module, "hydra", SimpleNamespace(main=lambda **_: lambda task: lambda: None))
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def check_files(
    accepts: Callable[[Path], None], cases: Iterator[hostile.Case], good: list[bytes], folder: Path, n: int
) -> None:
    def written(content: bytes) -> Path:
        path = folder.with_name("case")
        path.write_bytes(content)
        return path

    named = ((name, written(content)) for name, content in cases)
    found, accepted, faults = watch(accepts, named, (written(one) for one in good), folder)
    assert not faults, f"{len(faults)} of {found}: {dict(list(faults.items())[:8])}"
    assert found == n and accepted < n / 2


# Cases of one test, of the short run first.
def parts(short: int, long: int, times: int) -> list[object]:
    return [(short, 0), *(pytest.param((long, seed), marks=pytest.mark.long) for seed in range(times))]


@pytest.mark.parametrize("part", parts(90, 425, 10))
def test_genotypes(part: tuple[int, int], folder: Path) -> None:
    good = [hostile.json.dumps(one).encode() for one in hostile.good_genotypes(small=True).values()][::3]
    check_files(read_genotype, hostile.genotypes(*part), good, folder, part[0])


@pytest.mark.parametrize("part", parts(145, 425, 10))
def test_space_files(part: tuple[int, int], folder: Path) -> None:
    good = [path.read_bytes() for path in sorted(hostile.FORMS.glob("*.yaml"))]
    check_files(read_space, hostile.space_files(*part), good, folder, part[0])


@pytest.mark.parametrize("part", parts(15, 100, 20))
def test_overrides(part: tuple[int, int], folder: Path) -> None:
    good = [["search", "data.limit=64"], ["retrain", "genotype=DARTS_V2"], ["search", "space=mobilenetv3_like"]]
    found, _, faults = watch(read_line, hostile.overrides(*part), good, folder)
    assert not faults, f"{len(faults)} of {found}: {dict(list(faults.items())[:8])}"
    assert found == part[0]


def misbehave(how: str) -> None:
    """What a reader must not do with a hostile case; "good" and "refused" are what it may."""
    deeds: dict[str, Callable[[], object]] = {
        "good": lambda: None,
        "ValueError": lambda: int("x"),
        "not one line": lambda: refuse("two\nlines"),
        "a colour": lambda: refuse("\x1b[31m"),
        "refused": lambda: refuse("no"),
        "os.system": lambda: os.system("true"),
        "subprocess": lambda: subprocess.run(["true"], check=False),
        "exec": lambda: exec("1"),
        "eval": lambda: eval("1"),
        "import": lambda: __import__("canary"),
        "hidden": hidden,
        "pickle": lambda: pickle.loads(b"cposix\nsystem\n(S'true'\ntR."),
        "writes": lambda: Path("left").write_text("x"),
        "a folder": lambda: os.mkdir("left"),
        "environment": lambda: os.environ.update(LEFT="1"),
        "memory": lambda: bytearray(250 << 20),
        "too much memory": lambda: bytearray(9 << 30),
        "time": lambda: [None for _ in range(10**9)],
    }
    deeds[how]()


def refuse(message: str) -> None:
    raise SupernetError(message)


def hidden() -> None:
    """Caught by whoever did it, and seen all the same."""
    with contextlib.suppress(Exception):
        os.system("true")


def test_the_watch_sees_what_it_claims_to_see(folder: Path) -> None:
    names = [
        "good", "refused", "ValueError", "not one line", "a colour", "os.system", "subprocess", "exec", "eval",
        "import", "hidden", "pickle", "writes", "a folder", "environment", "memory", "too much memory", "time",
    ]  # fmt: skip
    found, accepted, faults = watch(misbehave, ((name, name) for name in names), ["good"], folder, seconds=1)
    assert (found, accepted) == (len(names), 4)  # what is hidden, the environment and memory went on to their end
    assert sorted(faults) == sorted(names[2:])
    told = {"time": "did not end", "memory": "MB", "too much memory": "MemoryError", "hidden": "os.system"}
    assert all(word in faults[name] for name, word in told.items()), faults


def test_a_process_that_ends_is_a_fault(folder: Path) -> None:
    _, _, faults = watch(lambda name: os._exit(7) if name == "b" else None, ((n, n) for n in "abc"), [], folder)
    assert faults == {"b": "the process ended with 7"}


@pytest.mark.parametrize("times", [1, pytest.param(12, marks=pytest.mark.long)])
def test_the_command_says_the_same(times: int, tmp_path: Path) -> None:
    """The real command, Hydra's main and all, on lines that are refused."""
    lines = [["search", f"+space._target_={EVIL}"]]
    lines += [["search", *words(line)] for line in LINES[3::23] if "\0" not in line and len(line) < 9999]
    for argv in lines[:times]:
        command = [sys.executable, "-m", "supernet", *argv, "--cfg", "job"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in (0, 2) and "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0 or (done.stderr.startswith("error: ") and done.stderr.count("\n") == 1)
    assert not list(tmp_path.iterdir())
