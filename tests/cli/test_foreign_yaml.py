"""YAML files that others wrote, in folders that a user names: they set settings, and nothing that runs programs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from supernet.cli import main
from supernet.cli import program as program_module
from supernet.cli.settings import register
from supernet.cli.validate import Checked, check
from supernet.errors import SupernetError
from supernet.stages import STAGES

pytestmark = pytest.mark.usefixtures("own_folder")
GLOBAL = "# @package _global_\n"
ENV = "hydra: {job: {env_set: {CXX: ./evil}}}\n"
# Path below the folder, content, what the user types: each may run a program, or write where its author likes.
ATTACKS = {
    "environment": ("experiment/x.yaml", GLOBAL + ENV, "experiment=x"),
    "environment copied": ("experiment/x.yaml", GLOBAL + "hydra: {job: {env_copy: [HOME]}}", "experiment=x"),
    "run folder": ("experiment/x.yaml", GLOBAL + "hydra: {run: {dir: elsewhere}}", "experiment=x"),
    "output": ("experiment/x.yaml", GLOBAL + "hydra: {output_subdir: ../elsewhere}", "experiment=x"),
    "changed folder": ("experiment/x.yaml", GLOBAL + "hydra: {job: {chdir: true}}", "experiment=x"),
    "a log file": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {job_logging: {handlers: {x: {class: logging.FileHandler, filename: elsewhere}}}}",
        "experiment=x",
    ),
    "a log stream": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {job_logging: {handlers: {stderr: {stream: 'ext://evil.x'}}}}",
        "experiment=x",
    ),
    "a log formatter": (
        "experiment/x.yaml",
        GLOBAL + "hydra: {hydra_logging: {formatters: {plain: {(): evil.x}}}}",
        "experiment=x",
    ),
    "hydra's own group": (
        "experiment/x.yaml",
        GLOBAL + "defaults: [override /hydra/job_logging: default]",
        "experiment=x",
    ),
    "hydra's own file": ("experiment/x.yaml", GLOBAL + "defaults: [/hydra/job_logging/stdout]", "experiment=x"),
    "a group of its own": ("hydra/launcher/x.yaml", "_target_: hydra_plugins.evil.X", "hydra/launcher=x"),
    "in place of Hydra's": ("hydra/config.yaml", "job: {env_set: {CXX: ./evil}}", "seed=1"),
    "by package": ("data/x.yaml", "# @package hydra.job\nenv_set: {CXX: ./evil}", "data=x"),
    "by half a package": ("data/x.yaml", "# @package _global_Xhydra.job\nenv_set: {CXX: ./evil}", "data=x"),
    "by a package of another file": (
        "experiment/x.yaml",
        GLOBAL + "defaults: [/data@hydra.job: y]",
        "experiment=x",
    ),
    "by a package in the middle": (
        "experiment/x.yaml",
        GLOBAL + "defaults: [/data@a._global_.hydra.job: y]",
        "experiment=x",
    ),
    "what was typed": ("data/x.yaml", "# @package hydra.overrides\ntask: ['space.allow=[os]']", "data=x"),
    "what was typed of Hydra's": ("data/x.yaml", "# @package hydra.overrides\nhydra: [hydra.verbose=true]", "data=x"),
    "a sweep": ("data/x.yaml", "# @package hydra\nmode: MULTIRUN", "data=x"),
    "a job's number": ("data/x.yaml", "# @package hydra.job\nnum: 3", "data=x"),
    "a launcher": ("cluster/x.yaml", GLOBAL + "hydra: {launcher: {n_jobs: 2}}", "+cluster=x"),
    "an interpolated launcher": (
        "experiment/x.yaml",
        GLOBAL + "a: {job: {env_set: {CXX: ./evil}}}\nhydra: ${a}",
        "experiment=x",
    ),
    "a merged key": ("experiment/x.yaml", GLOBAL + "a: &a {hydra: {job: {chdir: true}}}\n<<: *a", "experiment=x"),
    "a search path": ("mine.yaml", "defaults: [search]\nhydra: {searchpath: ['pkg://evil']}", "--config-name=mine"),
    "another beginning": ("mine.yaml", "defaults: [search_schema]", "--config-name=mine"),
    "the environment read": ("data/x.yaml", "name: ${oc.env:HOME}", "data=x"),
    "the environment read within": ("data/x.yaml", "name: ${oc.${a}:HOME}\na: env", "data=x"),
    "the environment read by a choice": (
        "experiment/x.yaml",
        GLOBAL + "defaults: [/data: '${oc.env:HOME}']",
        "experiment=x",
    ),
    "code to import": ("space/x.yaml", "file: space.yaml\nallow: [os]", "space=x"),
    "code to import, by another part": ("data/x.yaml", "# @package space\nallow: [os]", "data=x"),
    "a path": ("../outside/y.yaml", "name: digits", "data=../../outside/y"),
    "a path from the package": ("data/x.yaml", "name: digits", "data=../data/digits"),
    "a path in a file": ("experiment/x.yaml", GLOBAL + "defaults: [override /data: ../data/digits]", "experiment=x"),
    "a path as the beginning": ("../outside/y.yaml", "defaults: [search]", "--config-name=../outside/y"),
    "aliases": (
        "data/x.yaml",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "data=x",
    ),
    "too large": ("data/x.yaml", "name: digits\n#" + "x" * 1_000_001, "data=x"),
}  # fmt: skip


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., Checked]:
    """Writes the file into the folder `theirs` and checks a command line that names it."""
    register()
    (tmp_path / "theirs" / "data").mkdir(parents=True)
    (tmp_path / "theirs" / "data" / "y.yaml").write_text("env_set: {CXX: ./evil}")
    (tmp_path / "space.yaml").write_text("schema: 1\nname: x\nclass: os.system\ndecisions: []")

    def checked(name: str, content: str, *words: str, by: str = "-cd=theirs") -> Checked:
        write(tmp_path / "theirs" / name, content)
        return check(STAGES["search"], [by, *words])

    return checked


SHORT = (
    "environment", "a log stream", "hydra's own group", "in place of Hydra's", "by half a package", "a search path",
    "by a package of another file", "the environment read within", "code to import", "a path", "aliases",
    "what was typed of Hydra's",
)  # fmt: skip


@pytest.mark.parametrize(
    "attack", [one if one in SHORT else pytest.param(one, marks=pytest.mark.long) for one in ATTACKS]
)
def test_an_attack_is_one_line(attack: str, given: Callable[..., Checked]) -> None:
    name, content, word = ATTACKS[attack]
    with pytest.raises(SupernetError) as caught:
        given(name, content, word, "data.limit=64")
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    assert any(words in message for words in ("--trust", "is a path", "aliases written out", "are read")), message


def test_a_folder_of_the_search_path_is_as_foreign(given: Callable[..., Checked]) -> None:
    for attack in ("by package", "the environment read"):
        name, content, word = ATTACKS[attack]
        with pytest.raises(SupernetError, match="--trust"):
            given(name, content, word, by="hydra.searchpath=[theirs]")


def test_a_scheme_would_import_what_it_names(tmp_path: Path, given: Callable[..., Checked]) -> None:
    (tmp_path / "pkg:" / "evil").mkdir(parents=True)
    (tmp_path / "evil.py").write_text("raise RuntimeError('imported')")
    with pytest.raises(SupernetError, match="is no folder"):
        given("data/x.yaml", "name: digits", by="hydra.searchpath=[pkg://evil]")


def test_links_and_pipes_in_the_folder_are_not_followed(tmp_path: Path, given: Callable[..., Checked]) -> None:
    data = tmp_path / "theirs" / "data"
    (tmp_path / "secret.yaml").write_text("name: secret")
    (data / "x.yaml").symlink_to(tmp_path / "secret.yaml")
    (data / "same.yaml").symlink_to("y.yaml")
    os.mkfifo(data / "pipe.yaml")
    (data / "zero.yaml").symlink_to("/dev/zero")
    (data / "y.yaml").write_text("name: digits")
    for name, message in (("x", "link to outside"), ("pipe", "unknown option"), ("zero", "unknown option")):
        with pytest.raises(SupernetError, match=message):
            given("data/z.yaml", "", f"data={name}")
    assert given("data/z.yaml", "", "data=same").runs


def test_what_a_file_is_for(given: Callable[..., Checked]) -> None:
    """Settings, parts of others and other settings, by the folder or by the search path."""
    text = GLOBAL + "defaults: [override /data: mine]\nseed: 3\nepochs: ${seed}\n"
    text += "run: {name: 'a-${hydra:job.name}', root: '${now:%Y}'}"
    given("data/mine.yaml", "name: digits\nlimit: 64\nkwargs: {}")
    for by in ("-cd=theirs", "hydra.searchpath=[file://theirs]"):
        (config,) = given("experiment/x.yaml", text, "experiment=x", by=by).configs
        assert (config.seed, config.epochs, config.run.name, config.data.limit) == (3, 3, "a-search", 64)
        assert len(config.run.root) == 4


@pytest.mark.parametrize("word", ["--trust", pytest.param("--tr", marks=pytest.mark.long)])
def test_files_that_are_named_as_trusted(
    word: str, given: Callable[..., Checked], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "digits")
    text = GLOBAL + "hydra: {output_subdir: mine}\nspace: {allow: [mypkg]}\ndata: {name: '${oc.env:MINE}'}"
    (config,) = given("experiment/x.yaml", text, "experiment=x", word).configs
    assert config.space.allow == ["mypkg"] and config.data.name == "digits"
    with pytest.raises(SupernetError, match="would run code"):  # a class of one's own is code, and is not named in YAML
        given("experiment/x.yaml", GLOBAL + "hydra: {launcher: {_target_: evil.x}}", "experiment=x", word)
    with pytest.raises(SupernetError, match="is a path"):
        given("data/x.yaml", "name: digits", "data=../data/x", word)


def test_what_is_typed_stays_possible(given: Callable[..., Checked]) -> None:
    (config,) = given("data/x.yaml", "name: digits", "data=x", "space.allow=[mypkg]", "hydra.verbose=true").configs
    assert config.space.allow == ["mypkg"]
    assert given("data/x.yaml", "name: digits", "space={allow: [mypkg]}", "data=x").configs[0].space.allow == ["mypkg"]
    with pytest.raises(SupernetError, match="import code"):
        given("space/x.yaml", "name: darts\nallow: [os]", "space=x", "+data.kwargs={allow: [os]}")
    register()
    line = ["-m", "-cd=theirs", "hydra/launcher=basic", "hydra.sweeper.max_batch_size=2", "data=x", "seed=0,1"]
    assert [one.seed for one in check(STAGES["search"], line).configs] == [0, 1]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str | None]]:
    """The seed of each run that is performed, and the compiler that its environment names."""
    runs: list[tuple[int, str | None]] = []
    monkeypatch.setattr(
        program_module, "perform", lambda stage, config: runs.append((config.seed, os.environ.get("CXX")))
    )
    monkeypatch.delenv("CXX", raising=False)
    return runs


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_hydra_s_own_main_refuses_too(
    sweep: list[str],
    tmp_path: Path,
    ran: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the check before it has missed."""
    monkeypatch.setattr(program_module, "check", lambda *_: Checked((), (), bool(sweep), True))
    write(tmp_path / "theirs/data/y.yaml", "env_set: {CXX: ./evil}")
    write(tmp_path / "theirs/experiment/x.yaml", GLOBAL + "defaults: [/data@hydra.job: y]")
    assert main(["search", "-cd=theirs", *sweep, "experiment=x", "run.root=runs"]) == 2
    assert ran == [] and "hydra.job.env_set.CXX=./evil" in capsys.readouterr().err


def test_a_sweep_writes_its_list_through_no_link(
    tmp_path: Path, ran: list[object], capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "mine", "mine")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "multirun.yaml").symlink_to(tmp_path / "mine")
    assert main(["search", "-m", "seed=0", "run.root=runs"]) == 2
    assert ran == [] and "multirun.yaml is a link" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.long
def test_what_only_one_job_of_a_sweep_loads(
    tmp_path: Path, ran: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    """The check composes each value once, not each pair: the file of the last pair is met in Hydra's own main."""
    for seed in (1, 2):
        write(tmp_path / f"theirs/experiment/e{seed}.yaml", f"{GLOBAL}seed: {seed}")
        for data in ("y", "z"):
            write(tmp_path / f"theirs/data/{data}.yaml", "name: digits")
            text = GLOBAL + (ENV if (seed, data) == (2, "z") else "epochs: 3")
            write(tmp_path / f"theirs/pair/e{seed}_{data}.yaml", text)
    write(tmp_path / "theirs/space/s.yaml", "defaults: [{optional /pair: '${experiment}_${data}'}]\nname: darts")
    sweep = ["search", "-cd=theirs", "-m", "space=s", "experiment=e1,e2", "data=y,z", "run.root=runs"]
    assert main(sweep) == 2
    assert capsys.readouterr().err.count("sets Hydra's own part") == 1
    assert ran == []  # Hydra composes all jobs before the first
    write(tmp_path / "theirs/pair/e2_z.yaml", GLOBAL + "space: {allow: [os]}")
    assert main(sweep) == 2
    assert ran == [] and "a YAML file sets space.allow=['os']" in capsys.readouterr().err
    write(tmp_path / "theirs/pair/e2_z.yaml", GLOBAL + ENV)
    assert main(["search", "--trust", *sweep[1:]]) == 0
    assert ran == [(1, None), (1, None), (2, None), (2, "./evil")]
