"""What compares two checkouts: exact counts of one step, and the interval of alternating pairs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import checkouts
from benchmarks.common import worker as client
from benchmarks.steps import dispatches, pairs
from supernet.errors import SupernetError

# The worker of a checkout: a step takes what its file `seconds` says.
WORKER = """
import json, pathlib, sys
seconds = float(pathlib.Path(__file__).with_name("seconds").read_text())
say = lambda message: print(json.dumps(message), flush=True)
say({"parameters": 1, "hardware": {"name": "here", "gpu": "none", "torch": "", "python": "", "platform": ""}})
for line in sys.stdin:
    say({"seconds": seconds})
say({"peak_bytes": 1, "total_bytes": 2})
"""


def checkout(folder: Path, seconds: float, place: str) -> str:
    path = folder / place
    path.parent.mkdir(parents=True)
    path.write_text(WORKER, encoding="utf-8")
    path.with_name("seconds").write_text(str(seconds))
    return str(folder)


def test_the_interval_is_students() -> None:
    result = pairs.interval([1.0, 1.1, 1.21])
    assert result["ratio"] == pytest.approx(1.1)
    half = 4.302652729911275 * math.log(1.1) / math.sqrt(3)  # t of two degrees of freedom
    assert math.log(result["high"] / 1.1) == pytest.approx(half) == -math.log(result["low"] / 1.1)


def test_pairs_of_an_old_and_a_new_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = checkout(tmp_path / "old", 0.5, "benchmarks/worker.py")
    after = checkout(tmp_path / "new", 0.51, "benchmarks/common/serve.py")
    arguments = ["--pairs=3", "--steps=2", "--formulations", "torch"]
    assert pairs.main([before, after, *arguments, f"--json={tmp_path / 'out'}"]) == 0
    (row,) = json.loads((tmp_path / "out" / "pairs-here.json").read_text())["results"]
    assert row["before"] == [1.0] * 3 and row["after"] == [1.02] * 3
    assert row["ratio"] == pytest.approx(1.02) == pytest.approx(row["low"]) == pytest.approx(row["high"])
    assert "yes" in capsys.readouterr().out
    slow = checkout(tmp_path / "slow", 0.55, "benchmarks/common/serve.py")
    assert pairs.main([before, slow, *arguments]) == 1
    assert pairs.main([before, str(tmp_path), *arguments]) == 2
    assert "no checkout of this project" in capsys.readouterr().err


def test_the_sides_of_a_pair_take_turns_to_begin() -> None:
    order: list[str] = []

    class Side(client.Worker):
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, limit: float | None = None) -> float:
            order.append(self.name)
            return 1.0

    assert pairs.alternate([Side("b"), Side("a")], 3, 1, 9) == ([1.0] * 3, [1.0] * 3)
    assert "".join(order) == "baabba"


@pytest.mark.long
def test_a_step_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Of this checkout; the script itself says so where two steps differ."""
    assert dispatches.main(["--channels=2", "--layers=1", "--formulations", "torch", "--part", "pass"]) == 0
    _, checkout, operations, peak, allocations = capsys.readouterr().out.splitlines()[2].split()
    assert checkout == str(dispatches.HERE)
    assert int(operations) > 100 and int(peak.replace(",", "")) > 1000 and int(allocations) > 100


def test_more_operations_or_another_peak_are_worse() -> None:
    def result(operations: int, peak: int) -> dict[str, Any]:
        first = {"operations": {"aten.add": 4}, "peak_bytes": 8, "allocations": 1}
        last = {"operations": {"aten.add": 3, "aten.mul": operations - 3}, "peak_bytes": peak, "allocations": 1}
        return {"checkouts": ["old", "new"], "results": [{"name": "torch", "counts": [first, last]}]}

    assert [dispatches.worse(result(*one)) for one in ((4, 8), (3, 8), (5, 8), (4, 9))] == [False, False, True, True]
    assert "torch: aten.mul +2" in dispatches.show(result(5, 8))


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match="no checkout of this project"):
        checkouts.module_of_steps(tmp_path)
