"""The command line: stages, one-line errors and exit codes, sweeps, resuming, and the way from a search to timm."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import supernet
from supernet import cli
from supernet.cli import main
from supernet.cli import program as program_module
from supernet.cli.exit_codes import guarded
from supernet.cli.program import child_name
from supernet.config import SearchConfig
from supernet.errors import StoppedError, SupernetError
from supernet.stages import STAGES, Stage, run_retrain, run_search
from supernet.stages.next_command import override

pytestmark = pytest.mark.usefixtures("own_folder")
ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "epochs=1",
    "network.channels=2",
    "network.layers=3",
    "data.limit=64",
    "batch_size=16",
    "log.tensorboard=false",
    "log.progress=false",
]
SMALL_SPACE = ["space.args.nodes=2", "space.args.operations=[none,skip_connect,sep_conv_3x3]"]  # fmt: skip


def outside(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def performed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Replaces what a stage does by a list of what it was asked for."""
    found: list[tuple[str, object]] = []

    def record(stage: Stage[Any, Any], config: object) -> float:
        found.append((stage.name, config))
        return 0.5

    monkeypatch.setattr(program_module, "perform", record)
    return found


def test_the_surface_is_this() -> None:
    """A new stage or top-level setting is a promise to users: it is entered here on purpose."""
    assert set(cli.STAGES) == {"search", "retrain", "compare", "export", "draw", "report", "watch", "doctor", "demo"}
    shared = {"seed", "epochs", "batch_size", "device", "amp", "deterministic", "data", "network", "run", "checkpoint"}
    shared |= {"log", "guard", "task"}
    schemas = {name: stage.config for name, stage in cli.STAGES.items() if stage.config is not None}
    assert {stage: set(schema.__dataclass_fields__) for stage, schema in schemas.items()} == {
        "search": shared | {"space", "method", "weights", "alphas", "alpha_share", "executor", "capture", "dead_cells"},
        "retrain": shared | {"genotype", "controls", "allow", "allow_dead", "recipe", "speed", "val_fraction"},
        "compare": {
            "methods",
            "seeds",
            "random",
            "tolerance",
            "draws",
            "published",
            "random_ws",
            "table",
            "score",
            "jobs",
            "search",
            "retrain",
            "rows",
            "config_dir",
            "allow",
            "run",
        },
        "export": {"run", "to", "allow"},
    }


def test_help_shows_each_stage_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for stage in cli.STAGES:
        assert f"supernet {stage}" in out
    assert main([]) == 2
    assert capsys.readouterr().err == out
    assert main(["--version"]) == 0
    assert main(["search", "--version"]) == 0
    assert capsys.readouterr().out == f"supernet {supernet.__version__}\n" * 2


def test_help_is_light(tmp_path: Path) -> None:
    """Counted in modules, not in milliseconds: a busy machine fails no test."""
    code = """
import sys
from supernet.cli import main
assert main(["--help"]) == 0
print({"torch", "timm", "hydra", "omegaconf", "numpy", "yaml"} & set(sys.modules))
"""
    done = outside(sys.executable, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("set()\n")


def test_the_module_is_the_command_and_torch_waits_until_needed(tmp_path: Path) -> None:
    code = """
import sys
from supernet.cli import main
assert main(["search", "--cfg", "job"]) == 0
assert main(["retrain", "genotype=DARTS_V9"]) == 2
print({"torch", "timm"} & set(sys.modules))
"""
    done = outside(sys.executable, "-c", code, cwd=tmp_path)
    assert done.stdout.endswith("set()\n"), done.stderr
    done = outside(sys.executable, "-m", "supernet", "serach", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    allowed = "Allowed: compare, demo, doctor, draw, export, report, retrain, search, watch"
    assert done.stderr == f"error: unknown stage 'serach'; did you mean 'search'? {allowed}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("search epoch=3", "unknown setting 'epoch'; did you mean 'epochs'?"),
        ("search lr=3", "did you mean 'weights.lr' or 'alphas.lr'?"),
        ("search weigths.lr=3", "did you mean 'weights.lr'?"),
        ("search network.chanels=4", "did you mean 'network.channels'? Allowed in network: network.channels,"),
        ("search space=nasbench201 network.cels_per_stage=4", "did you mean 'network.cells_per_stage'?"),
        ("search data={nme:x}", "unknown setting 'data.nme'; did you mean 'data.name'?"),
        ("search +epochz=3", "did you mean 'epochs'?"),
        ("search +network.chanels=4 space=dart", "unknown option of space: 'dart'; did you mean 'darts'?"),
        ("search spaces=darts", "did you mean 'space'?"),
        ("search method=darts_exat", "did you mean 'darts_exact'? Allowed: a2m, asap, beta_darts,"),
        ("search recipe=digits", "stage search has no part 'recipe'; its parts are data, experiment, method, space"),
        ("search experiment=darts_cifar10_retrain", "sets the part 'network', which stage search does not have"),
        ("search epochs=abc", "epochs='abc' must be of type int"),
        ("search epochs=0", "epochs=0 must be 1 or more"),
        ("search seed=1,2", "write seed=[1,2] for a list, or -m"),
        ("search run.name='a", "the value of 'run.name' cannot be read"),
        ("search epochs", "'epochs' is no key=value"),
        ("search --bogus", "--bogus"),
        ("search data.root=${nowhere}", "data.root: Interpolation key 'nowhere' not found"),
        ("search space.name=drts", "unknown space 'drts'; did you mean 'darts'?"),
        ("search space=my/x.yaml", "write space.file=my/x.yaml"),
        ("search allow=[mypkg]", "did you mean 'space.allow'?"),
        ("retrain space.allow=[mypkg]", "did you mean 'allow'?"),
        ("search space.args.nodes=99", "nodes=99 must lie in 1..12"),
        ("search run.name=../x", "must be the name of a folder below"),
        ("search hydra.run.dir=/etc", "run.root and run.name choose the run folder"),
        ("search --config-dir nowhere", "'nowhere' is no folder"),
        ("search -m method=darts_exact,darts_exat", "did you mean 'darts_exact'?"),
        ("search -m seed=range(0,9999999)", "this sweep has over 1000 runs"),
        ("retrain", "genotype is not set"),
        ("retrain genotype=DARTS_V3", "did you mean 'DARTS_V2'?"),
        ("retrain genotype=nowhere/genotype.json", "no genotype at 'nowhere/genotype.json'"),
        ("export", "run is not set"),
        ("export run=nowhere", "unknown run folder in .: 'nowhere'"),
        ("export ruin=x", "did you mean 'run'?"),
        ("search data=cifar10", "data.root is not set"),
        ("search data=folder data.root=nowhere", "data.root=nowhere is no folder"),
        ("search data.name=digitz", "did you mean 'digits'?"),
        ("search method.relaxation=sofmax", "did you mean 'softmax'?"),
        ("search device=tpu9", "device"),
    ],
)
def test_a_mistake_is_one_line(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    out, error = capsys.readouterr()
    lines = [text for text in error.splitlines() if " INFO " not in text]
    assert out == ""
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert expected in lines[0]


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (SupernetError("no\nsuch thing"), 2, "error: no such thing\n"),
        (StoppedError("no longer finite"), 1, "error: no longer finite\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "error: Permission denied: runs\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from the last checkpoint\n"),
        (BrokenPipeError(), 141, ""),
        (SystemExit(7), 7, ""),
    ],
)
def test_exit_codes(error: BaseException, code: int, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        raise error

    assert guarded(work) == code
    if not isinstance(error, BrokenPipeError):  # which leads standard output to nowhere
        assert capfd.readouterr().err == expected


def test_a_full_disk_behind_another_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("writer failed")  # noqa: B904 - as torch's writer does

    assert guarded(work) == 1
    assert capsys.readouterr().err == "error: No space left on device\n"


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_an_error_inside_a_stage_keeps_its_traceback(
    sweep: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> float:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(program_module, "perform", broken)
    assert main(["search", *sweep]) == 1
    error = capsys.readouterr().err
    assert "in broken" in error
    assert error.endswith("ZeroDivisionError: a bug\n")


def test_the_shell_s_hydra_settings_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    performed(monkeypatch)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    before = sys.argv
    assert main(["search"]) == 0
    assert os.environ["HYDRA_FULL_ERROR"] == "0"
    assert sys.argv is before


def test_a_run_gets_the_dataclass_and_writes_nothing_of_hydra_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = performed(monkeypatch)
    assert main(["search", "weights.lr=0.1", "+network.affine=true", "data.root='a b'"]) == 0
    ((stage, config),) = found
    assert stage == "search"
    assert isinstance(config, SearchConfig)
    assert (config.weights.lr, config.network["affine"], config.data.root) == (0.1, True, "a b")
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_names_its_children_by_their_overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = performed(monkeypatch)
    assert main(["search", "-m", "seed=1,2", "method=darts_exact,darts_second_order", "device=cpu"]) == 0
    names = [config.run.name for _, config in found]  # type: ignore[attr-defined]
    assert names == [
        f"search-method-{method}-seed-{seed}" for seed in (1, 2) for method in ("darts_exact", "darts_second_order")
    ]
    assert [path.name for path in tmp_path.rglob("*")] == ["runs", "multirun.yaml"]


def test_child_names_are_folders_and_differ() -> None:
    assert child_name("search", ["seed=1", "run.root=/x", "device=cpu", "log.every=3"]) == "search-seed-1"
    assert child_name("search", ["b=1", "a=2"]) == child_name("search", ["a=2", "b=1"])
    odd = [child_name("retrain", [f"genotype={path}"]) for path in ("a/b", "a-b", "a b", "a" * 500, "a" * 501)]
    assert len(set(odd)) == 5
    assert all("/" not in name and len(name) < 130 for name in odd)


@pytest.mark.parametrize(
    "text", ["runs/a", "runs/a b", "a=b,c", 'say "hi"', "it's", "a[1]{2}(3)", "ü", "a$b", "2024", "true"]
)
def test_the_next_command_can_be_typed(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a real shell, and through Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    typed = f"printf %s {override('genotype', text)}"
    word = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True).stdout
    assert OverridesParser.create().parse_override(word).value() == text


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["data.image_size=16", "data.in_chans=3"],
        ["data=folder", "data.root=my flowers", "data.image_size=16", "data.kwargs.crop_scale=[0.1,1]"],
        ["data=timm", "data.name=torch/cifar10", "data.root=x", "+data.kwargs.a={b:'1',c:null}"],
        ["data.name=torch/cifar10", "data.root=x"],
        ["data=text", "data.root='2024'"],
    ],
)
def test_the_next_command_has_the_data_of_the_search(given: list[str], tmp_path: Path) -> None:
    """Composed again, its data are those that were searched on."""
    import random
    import shlex

    from supernet.cli.inherit import inherited_by, joined
    from supernet.cli.settings import register
    from supernet.cli.validate import check
    from supernet.runs.folder import RunFolder
    from supernet.space import get_space

    register()
    config = check(STAGES["search"], given).configs[0]
    run = RunFolder.open(config, "search")
    get_space("darts").sample(random.Random(0)).save(run.genotype_path)
    command = shlex.split(STAGES["search"].next(run))
    assert command == ["supernet", "retrain", f"genotype={run.path}"]
    words = joined(command[2:], inherited_by(STAGES["retrain"], command[2:]).words)
    assert check(STAGES["retrain"], words).configs[0].data == config.data


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("search --cfg job", "alpha_share: 0.5"),
        ("search --cfg job --resolve -p weights", "lr: 0.025"),
        ("search --cfg all --resolve", "hydra:"),
        ("retrain --cfg job recipe=timm_modern", "opt: lamb"),
        ("export --cfg job", "run: ''"),
        ("search --info defaults", "space/darts"),
        ("search --info searchpath", "pkg://supernet.conf"),
        ("search --hydra-help", "--multirun"),
    ],
)
def test_hydra_s_own_options(line: str, expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(line.split()) == 0
    out, error = capsys.readouterr()
    assert expected in out
    assert error == ""
    assert list(tmp_path.iterdir()) == []


def test_tab_completion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COMP_LINE", "supernet-search method=darts_e")
    monkeypatch.setenv("COMP_POINT", str(len("supernet-search method=darts_e")))
    assert cli.search(["-sc", "query=bash"]) == 0
    assert "method=darts_exact" in capsys.readouterr().out
    assert cli.search(["-sc", "install=bash"]) == 0
    assert "supernet-search" in capsys.readouterr().out
    assert cli.search(["-sc", "install=evil"]) == 2


def test_tab_completion_of_the_command_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The script, in bash: stages by their name, then what the stage's own completion gives for the rest."""
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    stage = tmp_path / "supernet-search"
    stage.write_text('#!/bin/sh\necho "$COMP_LINE|$COMP_POINT|$*" >> asked; echo method=darts_exact\n')
    stage.chmod(0o755)
    ask = """{script}
COMP_WORDS=(supernet se); COMP_CWORD=1; _supernet_complete; echo "${{COMPREPLY[*]}}"
COMP_WORDS=(supernet search method=d); COMP_CWORD=2; COMP_LINE="supernet search method=d"
_supernet_complete; echo "${{COMPREPLY[*]}}"; cat asked
"""
    done = subprocess.run(
        ["bash", "-c", ask.format(script=script)], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    line = "supernet-search method=d"
    assert done.stdout.splitlines() == ["search", "method=darts_exact", f"{line}|{len(line)}|-sc query=bash"]
    assert main(["completion", "tcsh"]) == 2
    assert "there is one for bash" in capsys.readouterr().err


def test_a_user_s_own_folder_of_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = performed(monkeypatch)
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "tiny.yaml").write_text("name: digits\nlimit: 10\n")
    assert main(["search", "--config-dir", "mine", "data=tiny"]) == 0
    assert main(["search", "hydra.searchpath=[mine]", "data=tiny", "data.limit=11"]) == 0
    assert [config.data.limit for _, config in found] == [10, 11]  # type: ignore[attr-defined]


def test_demo_gets_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = dataclasses.replace(STAGES["demo"], run=lambda words: len(words.given))
    monkeypatch.setitem(STAGES, "demo", demo)
    assert main(["demo", "a", "b", "c"]) == 3


def test_from_a_search_to_timm(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three commands as a user types them, each `next` line taken from the one before; then each again."""
    import timm
    import torch

    import supernet.timm_models

    def run(*argv: str) -> dict[str, str]:
        assert main(list(argv)) == 0, capsys.readouterr().err
        rows = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
        return {name: value.strip() for name, value in rows}

    found = run("search", *TINY, *SMALL_SPACE, "run.root=my runs", "run.name=first")
    assert found["run folder"] == "my runs/first"
    assert 0 <= float(found["val/top1"]) <= 1
    assert supernet.Genotype.load(tmp_path / "my runs/first/genotype.json").hash in found["genotype"]

    genotype = outside("bash", "-c", f"printf %s {found['next'].split(' ', 2)[2]}", cwd=tmp_path).stdout
    trained = run("retrain", *TINY, genotype, "recipe.auxiliary=0")
    assert trained["run folder"].startswith("runs/retrain-")
    assert {"test/top1", "parameters", "seconds"} <= set(trained)

    exported = run("export", trained["next"].split()[-1])
    assert float(exported["reopened"].split()[-1]) <= 1e-5
    model = timm.create_model(f"local-dir:{exported['model folder']}", pretrained=True).eval()
    result = json.loads((tmp_path / trained["run folder"] / "result.json").read_text())
    assert sum(p.numel() for p in model.parameters()) == result["parameters"]
    assert model(torch.zeros(1, *result["data"]["input_size"])).shape == (1, 10)

    def untouched(*_: object) -> None:
        raise AssertionError("a finished run must not start again")

    monkeypatch.setattr(run_search, "run_search", untouched)
    monkeypatch.setattr(run_retrain, "run_retrain", untouched)
    assert (
        run("search", *TINY, *SMALL_SPACE, "run.root=my runs", "run.name=first", "log.every=3", "device=cpu") == found
    )
    assert run("retrain", *TINY, genotype, "recipe.auxiliary=0") == trained
    assert main(["search", *TINY, *SMALL_SPACE, "run.root=my runs", "run.name=first", "seed=3"]) == 2
    assert "holds another run: seed 0 -> 3" in capsys.readouterr().err
    assert main(["export", 'run="my runs/first"']) == 2
    assert "is a run of stage search" in capsys.readouterr().err


def test_an_interrupted_run_goes_on_by_the_same_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supernet.train import search as search_module

    steps = search_module.SearchProgram.step
    command = ["search", *TINY, *SMALL_SPACE, "epochs=2", "checkpoint.every_steps=1"]

    def interrupted(self: object, batch: object, epoch: int, step: int) -> object:
        if step == 3:
            raise KeyboardInterrupt
        return steps(self, batch, epoch, step)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(search_module.SearchProgram, "step", interrupted)
        assert main([*command, "run.name=cut"]) == 130
    error = capsys.readouterr().err
    assert error.endswith("interrupted; the same command goes on from the last checkpoint\n")
    assert main([*command, "run.name=cut"]) == 0
    assert "resumed at step 3" in capsys.readouterr().err
    assert main([*command, "run.name=whole"]) == 0
    cut, whole = (json.loads((tmp_path / "runs" / name / "result.json").read_text()) for name in ("cut", "whole"))
    assert (cut["metrics"], cut["genotype"]) == (whole["metrics"], whole["genotype"])
