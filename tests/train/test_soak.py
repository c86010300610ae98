"""A run of thousands of steps grows neither in memory nor in open files nor on the disk."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.survival.soak import passed, show, soak


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_long_run_leaks_nothing(promise: Callable[[str, str], None]) -> None:
    found = soak(5000)
    assert found["steps"] == 5000
    assert passed(found), show(found)
    promise("a search of 5,000 steps: resident memory, open files", f"{found['growth']:+.2%}, constant")


def test_what_counts_as_a_leak() -> None:
    good: dict[str, Any] = {"done": True, "growth": 0.01, "files": [9], "checkpoints": 4, "keep": 2}
    assert passed(good)
    for key, bad in {"done": False, "growth": 0.03, "files": [9, 10], "checkpoints": 5}.items():
        assert not passed(good | {key: bad}), key
