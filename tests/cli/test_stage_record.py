"""A stage is one record: a new one runs from the command line at once, and the command line knows none by its name."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from supernet.cli import main
from supernet.config import RunConfig
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder
from supernet.stages import STAGES, Label, Stage, Words

pytestmark = pytest.mark.usefixtures("own_folder")
YAML = """
defaults:
  - greet_schema
  - common
  - _self_
hydra:
  sweep: {dir: .}
  job: {name: greet}
  help: {app_name: supernet greet, header: "supernet greet: say hello"}
"""
FILE = '''"""The stage `greet`: say hello."""

from dataclasses import dataclass

from .stage import Stage


@dataclass(frozen=True, kw_only=True)
class GreetConfig:
    whom: str = "world"
    times: int = 1


def run(config: GreetConfig) -> list[str]:
    return [f"hello {config.whom}"] * config.times


STAGE = Stage(
    name="greet",
    help="say hello",
    example="supernet greet whom=you",
    config=GreetConfig,
    run=run,
    rows=lambda said: {"said": ", ".join(said)},
    score=len,
)
'''


@dataclass(frozen=True, kw_only=True)
class GreetConfig:
    whom: str = "world"
    times: int = 1

    def __post_init__(self) -> None:
        if self.times < 1:
            raise SupernetError(f"times={self.times} must be 1 or more")


def greet(config: GreetConfig) -> list[str]:
    return [f"hello {config.whom}"] * config.times


def rows(said: list[str]) -> Mapping[str, str]:
    return {"said": ", ".join(said)}


GREET = Stage(
    name="greet",
    help="say hello",
    example="supernet greet whom=you",
    config=GreetConfig,
    run=greet,
    rows=rows,
    next=lambda said: f"supernet greet times={len(said) + 1}",
    score=len,
)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that add a folder with the YAML file of the stage `greet`, which is registered."""
    monkeypatch.setitem(STAGES, "greet", GREET)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "greet.yaml").write_text(YAML)
    return ["--config-dir", "conf", "--trust"]


def test_a_stage_from_outside_runs_with_overrides(conf: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greet", *conf, "whom=you", "times=2"]) == 0
    assert capsys.readouterr().out == "said  hello you, hello you\nnext  supernet greet times=3\n"
    assert main(["greet", *conf, "-m", "whom=you,me"]) == 0
    assert capsys.readouterr().out.count("said  hello") == 2


def test_its_help_is_there(conf: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "  greet    say hello\n" in out and "supernet greet whom=you" in out
    assert main(["greet", *conf, "--help"]) == 0
    out = capsys.readouterr().out
    assert "supernet greet: say hello" in out and "whom=world" in out
    assert main(["greet", *conf, "--cfg", "job"]) == 0
    assert capsys.readouterr().out == "whom: world\ntimes: 1\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("greet whome=you", "unknown setting 'whome'; did you mean 'whom'?"),
        ("greet times=two", "times='two' must be of type int"),
        ("greet times=0", "times=0 must be 1 or more"),
        ("greet space=darts", "stage greet has no part 'space'"),
        ("gret", "unknown stage 'gret'; did you mean 'greet'?"),
    ],
)
def test_a_mistake_in_it_is_one_line(
    line: str, expected: str, conf: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), *conf]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith("error: ") and error.count("\n") == 1
    assert expected in error


@dataclass(frozen=True, kw_only=True)
class WalkConfig:
    seed: int = 0
    whither: str = "away"
    run: RunConfig = field(default_factory=RunConfig)


def test_a_stage_with_run_folders_is_found_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one without data, and the label's prefix begins the folder's name."""
    walked: list[str] = []

    def label(config: WalkConfig) -> Label:
        return Label(config.whither, f"walk-{config.whither}")

    def walk(config: WalkConfig) -> RunFolder:
        walked.append(config.whither)
        one = label(config)
        run = RunFolder.open(config, "walk", one.text, prefix=one.prefix)
        run.finish({"steps": 7})
        return run

    def shown(run: RunFolder) -> dict[str, str]:
        return {"run folder": run.path.name, "steps": str(run.result["steps"])}

    stage = Stage(
        name="walk", help="", example="", config=WalkConfig, run=walk, label=label, rows=shown,
        score=lambda run: float(run.result["steps"]),
    )  # fmt: skip
    monkeypatch.setitem(STAGES, "walk", stage)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "walk.yaml").write_text("defaults: [walk_schema, common, _self_]")
    outs = []
    for _ in range(2):
        assert main(["walk", "--config-dir", "conf", "whither=home"]) == 0
        outs.append(capsys.readouterr().out)
    assert walked == ["home"]
    assert outs[0] == outs[1] and outs[0].startswith("run folder  walk-home-")
    assert main(["walk", "--config-dir", "conf", "-m", "whither=here,there"]) == 0
    assert sorted(path.name for path in Path("runs").glob("walk-whither-*")) == [
        "walk-whither-here", "walk-whither-there",
    ]  # fmt: skip


def test_a_stage_without_settings_gets_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def echo(words: Words) -> int:
        print(*words.given, words.settings("search", ["seed=3"])[0].seed)
        return 0

    monkeypatch.setitem(STAGES, "echo", Stage(name="echo", help="", example="", run=echo))
    assert main(["echo", "--version", "-x"]) == 0
    assert capsys.readouterr().out == "--version -x 3\n"


def test_a_new_stage_touches_three_files(root: Path, tmp_path: Path) -> None:
    """Its own, the list of stages, its YAML: in a copy of the sources, from the command line in a fresh process."""
    for part in ("supernet", "conf"):
        shutil.copytree(root / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("ops", "cuda_kernels"):
        (tmp_path / part).symlink_to(root / part)
    listed = tmp_path / "supernet" / "stages" / "__init__.py"
    text = listed.read_text()
    changed = text.replace("import compare, demo, ", "import compare, demo, greet, ").replace(
        "(search, ", "(search, greet, "
    )
    files = {listed: changed, listed.with_name("greet.py"): FILE, tmp_path / "conf" / "greet.yaml": YAML}
    assert len(files) <= 3 and changed != text
    for path, content in files.items():
        path.write_text(content)
    code = """
import sys
from supernet.cli import main
assert main(["greet", "whom=you"]) == 0
assert main(["greet", "whome=you"]) == 2
print({"torch", "timm"} & set(sys.modules))
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.stdout == "said  hello you\nset()\n", done.stderr
    assert "did you mean 'whom'?" in done.stderr


def test_the_command_line_and_the_settings_name_no_stage(root: Path) -> None:
    """But for the console scripts of those with settings, which are what a user installs."""
    scripts = {"search", "retrain", "export", "compare"}
    rooms = [root / "supernet" / room for room in ("cli", "config")]
    files = [path for room in rooms for path in sorted(room.glob("*.py"))]
    assert len(files) > 8
    named: list[str] = []
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
        allowed = scripts if path == rooms[0] / "__init__.py" else set()
        named += [f"{path.name}: {text}" for text in texts if text in set(STAGES) - allowed]
    assert named == []
