"""`supernet draw`: what it writes, from a genotype, a run or a space, and one line with exit code 2 for mistakes."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from torch import nn

import supernet
from supernet.cli import main
from supernet.errors import SupernetError
from supernet.runs.checkpoint import Checkpoints
from supernet.space import Space, get_space, published
from supernet.stages.run_draw import draw, run_strengths

TREE = """
schema: 1
name: tiny
decisions:
  - {one_of: op, options: [conv, skip]}
"""


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def a_run(path: Path, *, steps: int = 1, stage: str = "search", label: str | None = None) -> Path:
    """The folder of a search of NAS-Bench-201 whose alphas say skip_connect everywhere in its last checkpoint."""
    path.mkdir(parents=True)
    config = {"space": {"name": "nasbench201", "args": {}}, "method": {"relaxation": "softmax"}}
    identity = {"label": label} if label else {}
    text = json.dumps({"schema": 1, "stage": stage, "identity": identity, "config": config})
    (path / "config.json").write_text(text)
    for step in range(1, steps + 1):
        alpha = torch.zeros(6, 5)
        alpha[:, 1] = float(step == steps) * 3
        net = {"alpha.cell": alpha, "body.weight": torch.zeros(2)}
        state = {"bilevel": {"net": net, "parts": {"relaxation": {}}}}
        Checkpoints(path / "checkpoints").save(step, {"program": state})
    return path


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("genotype=DARTS_V2", ["DARTS_V2-normal.svg", "DARTS_V2-reduce.svg"]),
        ("genotype=DARTS_V2 to=a/b format=png", ["a/b/DARTS_V2-normal.png", "a/b/DARTS_V2-reduce.png"]),
        ("space=nasbench201", ["nasbench201-cell.svg"]),
        ("space=nasbench201 to=x.PNG", ["x.png"]),
        ("space=darts to=deep/x.svg", ["deep/x-normal.svg", "deep/x-reduce.svg"]),
        ("space=nasbench201 to=v1.5", ["v1.5/nasbench201-cell.svg"]),
        ("space=nasbench201 to=a.folder/", ["a.folder/nasbench201-cell.svg"]),
        ("run=runs/one to=now.svg", ["now.svg"]),
        ("genotype=of.json space=nasbench201 to=y.svg", ["y.svg"]),
    ],
)
def test_it_writes_these_files(line: str, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    if line.startswith("run"):
        a_run(Path("runs/one"))
    get_space("nasbench201").project({"cell": [[0.0, 0.0, 0.0, 1.0, 0.0]] * 6}).save("of.json")
    assert main(["draw", *line.split()]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == files and told.err == ""
    for name in files:
        if name.endswith("svg"):
            assert ET.parse(name).getroot().tag.endswith("svg")
        else:
            assert Path(name).read_bytes().startswith(b"\x89PNG")
    assert sorted(str(path) for path in Path().rglob("*.[sp][vn]g")) == sorted(files)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ([], "nothing to draw: give genotype=NAME"),
        (["genotyp=x"], "unknown setting of supernet draw: 'genotyp'; did you mean 'genotype'?"),
        (["genotype"], "'genotype' is no key=value"),
        (["--to", "x"], "'--to' is no key=value"),
        (["genotype="], "genotype='' is empty"),
        (["space=darts", "space=nasnet"], "space is given twice"),
        (["genotype=DARTS_V3"], "did you mean 'DARTS_V2'?"),
        (["genotype=no/such/file"], "no genotype at 'no/such/file'"),
        (["genotype=x\0y"], "zero byte"),
        (["genotype=" + "x" * 5000], "too long"),
        (["genotype=DARTS_V2", "run=r"], "give one of them"),
        (["genotype=DARTS_V2", "space=nasnet"], "this is 'nasnet'"),
        (["genotype=own.json"], "space 'Own' is not registered"),
        (["space=drats"], "did you mean 'darts'?"),
        (["space=../../etc/passwd"], "unknown space"),
        (["space=absent.yaml"], "absent.yaml"),
        (["space=darts", "format=gif"], "unknown format 'gif'"),
        (["space=darts", "to=x.pdf"], "unknown kind of picture '.pdf'"),
        (["space=darts", "to=x.svg", "format=png"], "another kind"),
        (["space=darts", "to=own.json/"], "own.json/ is a file"),
        (["run=absent"], "unknown run folder in .: 'absent'; did you mean 'retrained'?"),
        (["run=retrained"], "is a run of stage retrain"),
        (["run=own"], "searched the space 'Net-123456', which is not registered"),
        (["run=empty"], "has no good checkpoint yet"),
        (["run=good", "space=darts"], "is of another space"),
    ],
)
def test_mistakes_are_one_line(line: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.json").write_text(json.dumps({"schema": 1, "space": "Own", "version": 1, "decisions": {"op": "a"}}))
    if line and line[0].startswith("run="):
        a_run(Path("retrained"), stage="retrain", steps=0)
        a_run(Path("own"), label="Net-123456", steps=0)
        a_run(Path("empty"), steps=0)
        a_run(Path("good"))
    before = {path for path in Path().rglob("*") if path.suffix in (".svg", ".png")}
    if line == ["run=absent"]:
        told = "unknown run folder in .: 'absent';"
    assert main(["draw", *line]) == 2
    caught = capsys.readouterr()
    assert caught.out == "" and caught.err.startswith("error: ") and caught.err.count("\n") == 1
    assert told in caught.err
    assert {path for path in Path().rglob("*") if path.suffix in (".svg", ".png")} == before


def test_a_run_as_it_stands_is_read_and_not_touched() -> None:
    run = a_run(Path("runs/one"), steps=3)
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    (row, *_) = run_strengths(get_space("nasbench201"), run)["cell"]
    assert row == pytest.approx(torch.tensor([0.0, 3, 0, 0, 0]).softmax(0).tolist())
    newest = max((run / "checkpoints").iterdir())
    (newest / "state.pt").write_bytes(b"damaged")
    (row, *_) = run_strengths(get_space("nasbench201"), run)["cell"]
    assert row == pytest.approx([0.2] * 5)  # the one before, whose alphas are all 0
    (newest / "state.pt").write_bytes(files[newest / "state.pt"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files


def test_the_weights_of_a_real_search_and_its_tree(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options: dict[str, nn.Module] = {"3": nn.Conv2d(1, 4, 3, padding=1), "1": nn.Conv2d(1, 4, 1)}
            self.op = supernet.Choice(options)
            self.head = nn.Linear(4, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.op(x).relu().mean((2, 3)))

    found = supernet.search(
        Net,
        data={"name": "digits", "limit": 32},
        batch_size=16,
        epochs=1,
        run=tmp_path / "run",
        log={"progress": False},
    )
    assert run_strengths(Space(Net), tmp_path / "run") == found.net.strengths()
    with pytest.raises(SupernetError, match="which is not registered"):
        draw(run=str(tmp_path / "run"))


def test_a_space_of_ones_own_from_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("tiny.yaml").write_text(TREE)
    assert main(["draw", "space=tiny.yaml", "format=png"]) == 0
    assert capsys.readouterr().out == "tiny-macro.png\n"


def test_a_run_keeps_the_file_of_its_space(capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(Path("runs/own"), label="tiny-12345678", steps=0)
    (run / "space.yaml").write_text(TREE)
    net = {"alpha.op": torch.tensor([[0.0, 1.0]])}
    Checkpoints(run / "checkpoints").save(1, {"program": {"bilevel": {"net": net, "parts": {"relaxation": {}}}}})
    assert main(["draw", "run=runs/own"]) == 0
    assert capsys.readouterr().out == "own-macro.svg\n"
    assert "0.73" in Path("own-macro.svg").read_text()  # a comment beside the drawn letters


def test_a_genotype_needs_no_torch_and_no_hydra() -> None:
    published("DARTS_V2").save("cell.json")
    code = """
import sys
from supernet.cli import main
assert main(["draw", "genotype=cell.json"]) == 0
print({"torch", "timm", "hydra", "matplotlib.pyplot"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("set()\n"), done.stdout


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in ("genotype", "run", "space", "to", "format", "allow"))
    assert main(["--help"]) == 0
    assert "supernet draw genotype=DARTS_V2" in capsys.readouterr().out
