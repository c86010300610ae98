"""The table of lines: the counter counts code alone, our column is that of the sources, and README shows the table."""

import datetime
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.project import lines

SOURCE = '''"""A file's docstring
of two lines."""
import os  # not asked for


@dataclass
class Space:
    """A docstring."""

    #: a comment
    SIZES = [
        1,  # a comment behind code

        2,
    ]
    """The docstring of an attribute."""

    @property
    def size(self):
        return """a text
of two lines"""

    def query(self): return 0


def space(): ...
def space():
    return Space()
'''


@pytest.mark.parametrize(
    ("names", "without", "found"),
    [
        (None, (), (15, 11)),
        (["Space"], (), (11, 6)),
        (["Space"], ["Space.query"], (10, 4)),
        (["Space"], ["Space.query", "Space.was_never_there"], (10, 4)),
        (["Space.size"], (), (4, 2)),
        (["Space.SIZES"], (), (4, 1)),
        (["space"], (), (2, 2)),
        (["space", "Space.query"], (), (3, 4)),
    ],
)
def test_the_counter(names: list[str] | None, without: list[str], found: tuple[int, int]) -> None:
    assert tuple(lines.count(SOURCE, names, without).values()) == found


def test_a_name_that_is_gone_is_no_zero() -> None:
    with pytest.raises(KeyError, match="gone"):
        lines.count(SOURCE, ["Space.gone"])


def test_lines_of_yaml() -> None:
    assert lines.count_yaml("# a comment\n\na: 1  # behind a value\nb:\n  # another\n  - 2\n") == 3


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return json.loads(lines.RESULT.read_text(encoding="utf-8"))


def test_our_column_is_that_of_the_sources(result: dict[str, Any]) -> None:
    assert result["ours"] == lines.ours(), "count again: python benchmarks/project/lines.py --json"
    assert list(result["ours"]) == list(lines.TITLES) and len(lines.TITLES) == 5


def test_a_form_that_names_classes_counts_them(root: Path, result: dict[str, Any]) -> None:
    for space, (*_, form, _needs) in lines.OURS.items():
        text = (root / "supernet" / "space" / "zoo" / "forms" / f"{form}.yaml").read_text()
        assert bool(re.search(r"\bclass: supernet\.", text)) == bool(result["ours"][space]["yaml_needs"]), form


def test_a_peer_is_named_to_the_commit(result: dict[str, Any]) -> None:
    assert len(result["peers"]) >= 3
    for peer in result["peers"]:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", peer["repository"])
        assert re.fullmatch(r"[0-9a-f]{40}", peer["commit"])
        assert datetime.date.fromisoformat(peer["committed"]) < datetime.date.fromisoformat(peer["counted"])
        for space, given in peer["spaces"].items():
            assert space in lines.TITLES and given["pieces"]["definition"]
            assert 0 < given["definition"]["lines"] <= given["whole"]["lines"]
            assert 0 < given["definition"]["statements"] <= given["whole"]["statements"]


def test_a_peer_is_counted_again_in_a_checkout(tmp_path: Path, result: dict[str, Any]) -> None:
    (tmp_path / "zoo.py").write_text(SOURCE)
    pieces = {
        "definition": [{"file": "zoo.py", "names": ["Space"], "without": ["Space.query"]}],
        "besides": [{"file": "zoo.py", "names": ["space"]}],
    }
    peer = lines.recount({**result["peers"][0], "spaces": {"darts": {"pieces": pieces}}}, tmp_path)
    assert peer["spaces"]["darts"]["definition"] == {"lines": 10, "statements": 4}
    assert peer["spaces"]["darts"]["whole"] == {"lines": 12, "statements": 6}
    assert peer["counted"] == datetime.date.today().isoformat()


def test_readme_shows_the_table(root: Path, result: dict[str, Any]) -> None:
    table = (root / "README.md").read_text().partition(lines.BEGIN)[2].partition(lines.END)[0]
    assert table.strip() == lines.markdown(result), "write it again: python benchmarks/project/lines.py --json"


def test_the_script_needs_no_torch(root: Path, tmp_path: Path) -> None:
    code = "from benchmarks.project import lines; lines.main(['--json', 'out']); assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {code}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "out" / "lines.json").read_text())
    assert "| DARTS |" in done.stdout and list(written["ours"]) == list(lines.TITLES)
    assert written["peers"] == json.loads(lines.RESULT.read_text())["peers"]
