"""README's examples run as they stand, in their order."""

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.project.promises import BEGIN, END
from supernet.space import get_space


def test_the_python_examples_run(root: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    # In a process of their own: one of them registers an operation.
    script = "import torch; torch.set_num_threads(1)\n" + "\n".join(blocks)
    environment = os.environ | {"PYTHONPATH": str(root), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "my-model" / "model.safetensors").is_file()


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
