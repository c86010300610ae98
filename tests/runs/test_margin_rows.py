"""What is printed of the decisions of a search: each with its margin."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from supernet.errors import SupernetError
from supernet.runs.meanings import margin_rows
from supernet.stages.stage import run_rows

MARGINS = [["normal", "0-2", "skip", "sep", 0.25], ["normal", "1-2", "sep", "skip", 0.125], ["op", "op", "a", "b", 0.5]]


def result(**more: Any) -> Any:
    values = {"metrics": {}, "seconds": 1.0, "genotype": "1234", **more}
    return SimpleNamespace(trained=lambda: values, path=Path("r"), result_path=Path("r/x"), genotype_path=Path("r/g"))


def test_each_decision_has_its_margin() -> None:
    rows = run_rows(result(margins=MARGINS))
    assert rows["margins normal"] == "0-2 skip 0.2500 before sep, 1-2 sep 0.1250 before skip"
    assert rows["margins"] == "op a 0.5000 before b"
    assert not any(name.startswith("margins") for name in run_rows(result())), "a result of before"
    assert margin_rows([]) == {}


@pytest.mark.parametrize("margins", [3, [[1]], [["a", "b", "c", "d", "e"]], {"a": 1}])
def test_what_is_none_is_one_line(margins: Any) -> None:
    with pytest.raises(SupernetError, match="r/x does not hold what a search says of its decisions"):
        run_rows(result(margins=margins))
