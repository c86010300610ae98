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

EVIL = "canary.strike"  # a module that leaves a trace where it is imported or called

KEYS = ("seed", "run.name", "data.root", "data.name", "space.args", "network", "weights.lr", "method.name", "device")

LINES = [
    # Code by name.
    f"_target_={EVIL}", f"+_target_={EVIL}", f"++_target_={EVIL}", "_target_=os.system", f"+space._target_={EVIL}",
    f"method._target_={EVIL}", f"+method={{_target_:{EVIL}}}", f"data={{_target_:{EVIL}}}",
    f"+data.kwargs._target_={EVIL}", f"+network._target_={EVIL}", f"network={{_target_:{EVIL}}}",
    f"+space.args._target_={EVIL}", f"method.name={EVIL}", f"+hydra.callbacks.x._target_={EVIL}",
    f"hydra.callbacks={{x:{{_target_:{EVIL}}}}}", f"hydra.launcher._target_={EVIL}",
    f"++hydra.launcher._target_={EVIL}", f"hydra.sweeper._target_={EVIL}", f"hydra.sweeper={{_target_:{EVIL}}}",
    f"+hydra.launcher.x={{_target_:{EVIL}}}", f"hydra/launcher={EVIL}", f"hydra/sweeper@hydra.callbacks={EVIL}",
    f"+hydra/callbacks={EVIL}", f"hydra.job_logging.handlers.x.()={EVIL}",
    f"+hydra.job_logging.handlers.x={{class:{EVIL}}}", f"hydra.hydra_logging.handlers.stderr.class={EVIL}",
    f"hydra.hydra_logging.handlers.stderr.stream=ext://{EVIL}", "hydra.job.env_set.PATH=/tmp",
    "+hydra.job.env_set.LD_PRELOAD=x", "hydra.job.env_copy=[HOME]", "hydra.searchpath=[pkg://canary]",
    "hydra.searchpath=pkg://canary", "hydra.searchpath=[structured://canary]", "hydra.searchpath=[http://localhost/x]",
    "hydra.searchpath=[/nowhere]", "hydra.searchpath=3", "hydra.searchpath=[[]]", "hydra.verbose=canary",
    "hydra.mode=EVIL", "hydra.mode=3",
    # Places.
    "hydra.run.dir=/etc", "hydra.sweep.dir=/etc", "hydra.sweep.subdir=../../etc", "hydra.output_subdir=/etc",
    "hydra.runtime.cwd=/", "hydra.job.chdir=true", "hydra={}", "hydra=null", "~hydra", "~hydra.launcher",
    "hydra/run=x", "run.name=../../etc/passwd", "run.name=/etc/passwd", "run.name=..", "run.name=''",
    "run.name='a/../../b'", "run.name=.", "run.name=" + "a" * 3000, "genotype=/etc/passwd",
    "data.root=../../../../etc data=folder", "space=../../../../etc/passwd", "space=/etc/passwd",
    "data=../space/darts", "experiment=../search", "space@hydra=darts", "space@_global_.hydra=darts", "data@=digits",
    "+data@hydra.launcher=digits", "+/etc/passwd=x", "file:///etc/passwd=1",
    # Interpolations and resolvers.
    "data.root=${oc.env:HOME}", "data.root=${oc.env:NOT_THERE}", "data.root=${nowhere}", "seed=${seed}",
    "seed=${epochs}", "data.root=${data.root}", "run.name=${resolver:x}", "run.name=${oc.decode:'[1,2'}",
    "run.name=${oc.create:{a:b}}", "run.name=${oc.select:hydra}", "run.name=${hydra:launcher}",
    "run.name=${hydra.launcher}", "run.name=${now:%Y}", "run.name=${python_version:micro}", "network=${weights}",
    "weights=${alphas}", "run=${run}", "seed=${", "seed=${}", "seed=$", "data.root=${..${..}}",
    "run.name=${oc.dict.values:hydra}", "seed=${oc.env:HOME}", "seed=???", "data.root=???", "run=???",
    # Numbers.
    "seed=1e999", "seed=-1", "seed=99999999999999999999999999", "seed=nan", "seed=0x10", "seed=1_0", "seed=01",
    "seed=1.5", "epochs=0", "epochs=-5", "epochs=inf", "batch_size=-1", "batch_size=1", "weights.lr=nan",
    "weights.lr=-inf", "weights.lr=inf", "weights.lr=1e400", "weights.momentum=1", "alpha_share=nan", "alpha_share=1",
    "weights.clip=-1", "alphas.beta1=2", "space.args.nodes=1000000000", "space.args.nodes=-1", "space.args.nodes=0",
    "space.args.nodes=x", "space.args.nodes=true", "space.args.operations=[]", "space.args.operations=[1,2]",
    "space.args.operations=none", "space.args.operations=[a,a]", "network.channels=1000000000000",
    "network.layers=99999999", "+network.num_classes=99999999999", "network.stem=9", "data.image_size=-3",
    "data.limit=0", "data.workers=-1", "checkpoint.keep=0", "log.every=0", "amp=fp64", "data.pad=-1",
    # Types and shapes.
    "seed=[1,2]", "seed={a:1}", "seed=null", "seed=true", "seed=", "run=3", "data=null", "data=[]",
    "data=[digits,mnist]", "space=null", "method={}", "network=3", "network=[1]", "network={1:2}", "+network={1:2}",
    "+data.kwargs.1=2", "weights=x", "++network.channels.deep=3", "seed.deep=3", "seed[0]=3", "weights.lr.x=1",
    "data.kwargs=[1]", "+space.args={null:1}", "+space.args.__class__=x", "__class__=x", "+__init__.__globals__=x",
    "+network.self=1", "+space.args.name=x", "keys=1",
    # Syntax.
    "", " ", "=", "==", "=3", "seed", "seed==3", "a=b=c", "'", '"', "run.name='", 'run.name="', "run.name=[",
    "run.name=]", "run.name={", "run.name=}", "run.name={a:", "run.name=(", "run.name=a(", "run.name=choice(",
    "run.name=choice(1,2", "run.name=\\", "seed=1,2", "seed=range(0,9999999999)", "seed=choice(1,2)", "seed=glob(*)",
    "space=glob(*)", "seed=sort(1,2)", "seed=int(x)", "seed=extend_list(1)", "run.name=shuffle(a)", "~", "~seed",
    "~nothing", "~data=[]", "~data={}", "+", "++", "+seed=3", "++seed=3", "+x", "+x=1", "+x.y.z=1", "++hydra=1",
    "!x=1", ".=1", "..=1", ".seed=1", "seed.=1", "/=1", "@=1", ":=1", "a:b=1", "@:@=1", "data@x:y=digits", "-x",
    "--x=1", "---", "--config-dir", "--config-name=../../x", "--config-name=", "--info=x", "--config-path=/etc",
    "--experimental-rerun=canary.pickle", "--package=hydra", "--resolve", "-p", "--cfg=evil", "-cn=hydra/config",
    "--config-dir=/nowhere", "--config-dir=/etc/passwd", "--multirun=3", "--run=x", "-m hydra/launcher=nope",
    "-m seed=range(0,1e9)", "-m seed=interval(0,1)", "-m seed=", "-m -m", "-m --cfg job", "-m hydra.sweep.dir=/etc",
    "-m seed=choice()",
    # Text.
    "run.name=\x00", "run.name='a\nb'", "run.name='a\rb'", "run.name=\x1b[31mred", "run.name=\u202eabc",
    "run.name=\udcff", "run.name=ü", "run.name=🦊", "🦊=1", "ѕeed=1", "seed=１", "data.name=" + "x" * 100_000,
    "x" * 100_000, "x" * 100_000 + "=1", "run.name=" + "[" * 3900, "run.name=" + "{a:" * 1300,
    "run.name=" + "[" * 1900 + "]" * 1900, "seed=" + "9" * 3900, ".".join("a" * 1900) + "=1",
    "data.name=" + "${a:" * 900, "run.name='$(touch canary.struck)'", "run.name='`touch canary.struck`'",
    "run.name='; touch x'", "data.root='%s%s%n'", "data.root='{0.__class__}'", "method.name='{{7*7}}'",
]  # fmt: skip


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


# Every other line now, the rest in the long suite: composing costs a tenth of a second.
@pytest.mark.parametrize("start", [0, pytest.param(1, marks=pytest.mark.long)])
def test_a_hostile_line_is_refused_or_harmless(start: int, given_lines: Callable) -> None:
    for line in LINES[start::2]:
        stage = "retrain" if line.startswith("genotype=") else "search"
        # Options and what follows them are words of their own; an override keeps its blanks.
        argv = line.split() if line.startswith("-") or line.endswith("data=folder") else [line]
        given_lines([stage, *argv])


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


@settings(max_examples=20, **QUIET)
@given(**VALUES)
def test_any_value_is_refused_or_harmless(given_lines: Callable, key: str, value: str, sign: str) -> None:
    given_lines(["search", f"{sign}{key}={value}"])


@pytest.mark.long
@settings(max_examples=1000, **QUIET)
@given(**VALUES)
def test_any_value_is_refused_or_harmless_at_length(given_lines: Callable, key: str, value: str, sign: str) -> None:
    given_lines(["search", f"{sign}{key}={value}"])


@settings(max_examples=20, **QUIET)
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
