"""What is typed for a setting that is text stays that text, whatever it looks like."""

from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from supernet.cli import main
from supernet.cli.run_stage import read
from supernet.cli.typed_text import as_text
from supernet.config import SearchConfig, from_mapping
from supernet.errors import SupernetError
from supernet.runs.names import run_path
from supernet.space import published
from supernet.stages import STAGES
from supernet.stages.next_command import word

NAMES = ["2024", "1.10", "1e3", "007", "1_000", "+5", "-0", ".5", "nan", "inf", "true", "False", "1:30", "2024-01-01",
         "données", "photos (1)", "a~b", "x=1", "it;s", "a b"]  # fmt: skip


def test_names_of_folders_are_text() -> None:
    """Each in four settings at once, of one composition."""
    for number in range(0, len(NAMES), 4):
        keys = ("data.root", "run.root", "run.name", "space.file")
        words = [f"{key}={name}" for key, name in zip(keys, NAMES[number : number + 4], strict=True)]
        (config,) = read("search", words)
        assert isinstance(config, SearchConfig)
        values = [config.data.root, config.run.root, config.run.name, config.space.file]
        assert values == NAMES[number : number + 4]
        assert run_path(config, "x", "0") == Path(NAMES[number + 1], NAMES[number + 2])


def test_in_a_sweep_each_is() -> None:
    assert [c.data.root for c in read("search", ["-m", "data.root=1.10,2,true,é"])] == ["1.10", "2", "true", "é"]  # type: ignore[attr-defined]


def test_what_is_no_such_text_is_left_alone() -> None:
    """So names of sweeps' runs, which hold words, stay; null is no text where a setting may be unset."""
    words = ["data.root=2024", "data.root=null", "data.root='1.10'", "seed=1.5", "weights.lr=1e-3", "seed=range(1,3)",
             "data.root=[", "-m", "~data", "experiment=null", "data=digits", "method.relaxation=1.5"]  # fmt: skip
    assert as_text(STAGES["search"], words) == words
    assert as_text(STAGES["search"], ["data=2024", "run.root=null"]) == ['data="2024"', 'run.root="null"']


@pytest.mark.usefixtures("own_folder")
def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    published("DARTS_V2").save(Path("1e3"))
    assert main(["retrain", "genotype=1e3", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["genotype"] == "1e3"
    assert main(["export", "run=1.10", "to=2.0"]) == 2
    assert "'1.10'" in capsys.readouterr().err


def test_numbers_in_a_file_are_named() -> None:
    """There 1.10 is 1.1 before anyone could ask for the text."""
    assert from_mapping(SearchConfig, {"data": {"root": 2024}}).data.root == "2024"
    for value in (1.1, True):
        with pytest.raises(SupernetError, match=rf"data\.root={value} is text, and was read as .*: put it in quotes"):
            from_mapping(SearchConfig, {"data": {"root": value}})


@pytest.mark.parametrize("text", [*NAMES, "", "a\\", "a\\\\", 'a"b', 'a\\"b', "'x'", "C:\\my data\\", "null"])
def test_words_that_we_write_are_read_back(text: str) -> None:
    assert str(OverridesParser.create().parse_override(word("key", text)).value()) == text
