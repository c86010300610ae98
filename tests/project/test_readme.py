"""README's examples run as they stand, in their order."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import supernet
from benchmarks.project.promises import BEGIN, END
from supernet.cli.settings import register
from supernet.cli.validate import check
from supernet.space import get_space, published
from supernet.stages import STAGES

CHANCE = 0.1  # of the ten digits, which all examples that train learn
RUN = """
import json, logging, sys
import torch
torch.set_num_threads(1)
scores = []
for block in json.loads(sys.stdin.read()):
    names = {"__name__": "__main__"}  # of each block its own: none needs another's
    exec(compile(block, "README", "exec"), names)
    scores += [names[name].metrics[key] for name, key in PAIRS if name in names]
print("scores", json.dumps(scores))
"""


def blocks(root: Path, kind: str) -> list[str]:
    """The fenced code of README in a language, or its indented blocks."""
    text = (root / "README.md").read_text()
    if kind:
        return re.findall(rf"^```{kind}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [
        textwrap.dedent(block).strip() + "\n"
        for block in re.findall(r"^(?: {4}.*\n|\n(?= {4}))+", text, flags=re.MULTILINE)
    ]


def test_the_python_examples_run(root: Path, tmp_path: Path) -> None:
    """Each stands alone, but for a folder that the one before has written, and what it trains is far above chance."""
    examples = blocks(root, "python")
    assert len(examples) >= 4
    # In a process of their own: one of them registers an operation.
    script = RUN.replace("PAIRS", str([("found", "val/top1"), ("trained", "test/top1")]))
    environment = os.environ | {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(
        command, input=json.dumps(examples), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "my-model" / "model.safetensors").is_file()
    scores = json.loads(done.stdout.rpartition("scores ")[2])
    assert len(scores) == 3 and min(scores) > 4 * CHANCE, scores


def test_the_space_in_yaml_is_searched_above_chance(root: Path, tmp_path: Path) -> None:
    """It has what a network needs: something between its linear maps."""
    (document,) = [block for block in blocks(root, "") if block.startswith("schema: 1")]
    (tmp_path / "mine.yaml").write_text(document)
    found = supernet.search(tmp_path / "mine.yaml", epochs=3, batch_size=16, log={"progress": False})
    assert found.metrics["val/top1"] > 3 * CHANCE
    x = torch.randn(4, 1, 8, 8)
    plain = found.net.discretize()[0].eval()
    assert not torch.allclose(plain(x) + plain(-x), 2 * plain(0 * x), atol=1e-3), "it is affine"


@pytest.mark.long
def test_the_command_lines_are_read(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `supernet STAGE ...` of README composes; what it names of the user's stands for something that is there."""
    lines = [line.partition("  #")[0].split() for block in blocks(root, "") for line in block.splitlines()]
    commands = [shlex.split(" ".join(words[1:])) for words in lines if words[:1] == ["supernet"]]
    read = [words for words in commands if words and words[0] in STAGES and STAGES[words[0]].config is not None]
    assert len(read) >= 12
    published("DARTS_V2").save(tmp_path / "RUN")
    monkeypatch.chdir(tmp_path)
    register()
    for name, *words in read:
        check(STAGES[name], STAGES[name].overrides([word.replace("runs/RUN", "RUN") for word in words]))


def test_no_blank_is_left_open(root: Path) -> None:
    assert not re.findall(r"@[A-Z_]+@", (root / "README.md").read_text())


def test_every_promise_names_a_test_that_exists(root: Path) -> None:
    readme = (root / "README.md").read_text()
    table = readme.partition(BEGIN)[2].partition(END)[0]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", table)
    assert len(named) >= 10
    for file, test in named:
        source = (root / file).read_text()
        assert f"def {test}(" in source, f"{file}::{test}"
        assert "promise(" in source, file


def test_the_zoo_is_listed_with_its_sizes(root: Path) -> None:
    table = (root / "README.md").read_text().partition("<!-- zoo:")[2].partition("<!-- end of zoo -->")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", table, flags=re.MULTILINE))
    assert len(listed) >= 13
    assert listed == {name: f"{get_space(name).size:,}" for name in listed}
