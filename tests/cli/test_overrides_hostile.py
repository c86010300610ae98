"""Hostile command lines: each is a valid configuration or one error line with exit code 2, and nothing is executed."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import hydra
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supernet.cli import main
from supernet.cli import program as program_module
from tests.support.hostile_lines import EVIL, KEYS, LINES, words


@pytest.fixture
def given_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Iterator[Callable]:
    """Runs command lines up to the point where Hydra's main would begin; checks what each says, writes and leaves."""
    (tmp_path / "canary.py").write_text("open('canary.struck', 'w').close()\ndef strike(*a, **k):\n    import canary\n")
    (tmp_path / "canary.pickle").write_bytes(b"cposix\nsystem\n(S'touch canary.struck'\ntR.")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(program_module, "hydra", SimpleNamespace(main=lambda **_: lambda task: lambda: None))
    files = set(os.listdir(tmp_path))
    environment = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}

    def run(argv: list[str]) -> int:
        begun = time.process_time()
        code = main(argv)
        assert time.process_time() - begun < 2
        out, error = capsys.readouterr()
        assert code in (0, 2), error
        if code:
            assert out == ""
            assert error.startswith("error: ") and error.endswith("\n") and error.count("\n") == 1
            assert 10 < len(error) <= 600 and error[:-1].isprintable()
        else:
            assert error == ""
        assert "Traceback" not in error
        return code

    yield run
    assert set(os.listdir(tmp_path)) - {"__pycache__"} == files
    assert "canary" not in sys.modules
    assert {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"} == environment


def test_there_are_over_a_hundred() -> None:
    assert len(set(LINES)) == len(LINES) > 2 * 130


# All lines run in the long test of test_hostile.py, which looks at time, memory and what is executed too.
def test_a_hostile_line_is_refused_or_harmless(given_lines: Callable) -> None:
    for line in LINES[::16]:
        given_lines(["retrain" if line.startswith("genotype=") else "search", *words(line)])


def test_code_by_name_is_refused(given_lines: Callable) -> None:
    """The other lines may be harmless; those that name code must be refused."""
    named = [line for line in LINES if EVIL in line and line != f"method.name={EVIL}"]
    kept = {line for line in named if given_lines(["search", line]) == 0}
    # Entries of free-form groups are data: the data set, the network or the space refuses what it does not know.
    assert kept <= {f"+data.kwargs._target_={EVIL}", f"+network._target_={EVIL}"}
    assert len(named) > 15


MARKS = st.text(st.sampled_from("abc019.,:=[]{}()$\\'\"~+@/%?* -\u00e9"), max_size=30)


VALUES = {"key": st.sampled_from(KEYS), "value": MARKS, "sign": st.sampled_from(["", "+", "++", "~"])}
QUIET = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=10, **QUIET)
@given(**VALUES)
def test_any_value_is_refused_or_harmless(given_lines: Callable, key: str, value: str, sign: str) -> None:
    given_lines(["search", f"{sign}{key}={value}"])


@settings(max_examples=10, **QUIET)
@given(line=st.text(max_size=40))
def test_any_text_is_refused_or_harmless(given_lines: Callable, line: str) -> None:
    given_lines(["export", f"x{line}"])


@pytest.mark.parametrize(
    "stage", ["serach", "", " ", "-x", "seed=1", "../search", "_target_", "x" * 100_000, "\x00", "ſearch"]
)
def test_a_hostile_stage_is_refused(stage: str, given_lines: Callable) -> None:
    assert given_lines([stage]) == 2


YAMLS = {
    "hydra/callbacks/evil.yaml": (f"x:\n  _target_: {EVIL}\n", "+hydra/callbacks=evil"),
    "hydra/launcher/evil.yaml": (f"_target_: {EVIL}\n", "hydra/launcher=evil"),
    "hydra/sweeper/evil.yaml": (f"_target_: {EVIL}\n", "hydra/sweeper=evil"),
    "data/evil.yaml": (f"# @package _global_\nhydra:\n  callbacks:\n    x:\n      _target_: {EVIL}\n", "data=evil"),
    "method/evil.yaml": (f"# @package _global_\nhydra:\n  launcher:\n    _target_: {EVIL}\n", "method=evil"),
    "space/evil.yaml": (
        f"# @package _global_\nhydra:\n  job_logging:\n    handlers:\n      x:\n        (): {EVIL}\n",
        "space=evil",
    ),
    "experiment/evil.yaml": ("x: !!python/object/apply:os.system ['touch canary.struck']\n", "experiment=evil"),
    "experiment/torn.yaml": ("x: [1, 2\n  y: }{", "experiment=torn"),
    "experiment/bytes.yaml": ("\x00\x01\x02", "experiment=bytes"),
    "experiment/list.yaml": ("- 1\n- 2\n", "experiment=list"),
    "experiment/loop.yaml": ("defaults:\n  - override /experiment: loop\n", "experiment=loop"),
    "experiment/bomb.yaml": (
        "a: &a [x,x,x,x]\n" + "".join(f"{b}: &{b} [*{a},*{a},*{a}]\n" for a, b in zip("abcd", "bcde", strict=True)),
        "experiment=bomb",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(YAMLS))
def test_a_stranger_s_yaml_is_data(name: str, given_lines: Callable, tmp_path: Path) -> None:
    text, override = YAMLS[name]
    folder = tmp_path.parent / f"{tmp_path.name}-conf"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(text)
    assert given_lines(["search", "--config-dir", str(folder), override]) == 2


def test_hydra_s_own_main_sees_only_checked_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture above stops before Hydra's main: here it is the real one, and it is not reached."""
    assert program_module.hydra is hydra
    reached = []
    monkeypatch.setattr(program_module, "hydra", SimpleNamespace(main=lambda **_: reached.append))
    assert main(["search", "hydra.run.dir=/etc"]) == 2
    assert main(["search", "--experimental-rerun=x.pickle"]) == 2
    assert reached == []
    assert logging.getLogger("supernet").level in (logging.NOTSET, logging.INFO)


def test_every_run_of_a_sweep_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user's own YAML that would call a function while logging is set up, as the second run of a sweep."""
    monkeypatch.chdir(tmp_path)
    experiments = tmp_path / "mine" / "experiment"
    experiments.mkdir(parents=True)
    (experiments / "good.yaml").write_text("# @package _global_\nseed: 1\n")
    (experiments / "evil.yaml").write_text(
        "# @package _global_\nhydra:\n  job_logging:\n    handlers:\n"
        "      x:\n        (): posix.mkdir\n        path: PWNED\n"
    )
    assert main(["search", "-cd", str(tmp_path / "mine"), "-m", "experiment=good,evil"]) == 2
    assert not (tmp_path / "PWNED").exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
