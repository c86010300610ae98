"""The identity of a run survives the growth of the settings: new ones, retired ones, and defaults that change."""

import dataclasses
import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from supernet.cli.program import child_name
from supernet.cli.settings import register
from supernet.cli.validate import check
from supernet.config import MethodConfig, RetrainConfig, RunConfig, SearchConfig, WeightConfig
from supernet.config.editions import EDITION, default_in, in_edition
from supernet.errors import SupernetError
from supernet.runs.folder import RunFolder, as_begun
from supernet.runs.identity import identity
from supernet.runs.names import run_path
from supernet.stages import STAGES

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NAMES = [entry for entry in json.loads((FIXTURES / "names.json").read_text()) if not entry.get("python")]


def digest(config: Any) -> str:
    return identity(config, "search")[1]


@dataclass(frozen=True, kw_only=True)
class Budget:
    latency: float | None = None
    price: float = field(default=1.0, metadata={"since": 3})


@dataclass(frozen=True, kw_only=True)
class Method(MethodConfig):
    sampler: str | dict[str, Any] | None = field(default=None, metadata={"since": 2})


@dataclass(frozen=True, kw_only=True)
class Grown(SearchConfig):
    """The settings of some later edition."""

    warp: int = field(default=3, metadata={"since": 2})
    order: list[str] = field(default_factory=list, metadata={"since": 2})
    budget: Budget = field(default_factory=Budget, metadata={"since": 2})
    method: Method = field(default_factory=Method)


def test_new_settings_at_their_defaults_change_nothing() -> None:
    assert identity(Grown(), "search") == identity(SearchConfig(), "search")
    assert digest(Grown(seed=1)) == digest(SearchConfig(seed=1)) != digest(SearchConfig())


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"warp": 4}, {"warp": "3 -> 4"}),
        ({"order": ["a"]}, {"order": '[] -> ["a"]'}),
        ({"budget": Budget(latency=8)}, {"budget.latency": "null -> 8"}),
        ({"budget": Budget(price=2)}, {"budget.price": "1 -> 2"}),
        ({"method": Method(sampler="gumbel")}, {"method.sampler": 'null -> "gumbel"'}),
    ],
)
def test_new_settings_at_other_values_make_another_run(tmp_path: Path, values: Any, names: dict[str, str]) -> None:
    """And the refusal of a folder by that name says in one line what differs, though the old run never knew of it."""
    run = RunConfig(root=str(tmp_path), name="mine")
    new = Grown(run=run, **values)
    assert digest(new) != digest(SearchConfig())
    RunFolder.open(SearchConfig(run=run), "search")
    with pytest.raises(SupernetError) as caught:
        RunFolder.open(new, "search")
    ((name, text),) = names.items()
    assert str(caught.value) == (
        f"the run folder {tmp_path / 'mine'} holds another run: {name} {text}; run.fresh=true moves it aside, another "
        "run.name keeps both"
    )


def test_a_part_without_arguments_is_its_name() -> None:
    one, other = (digest(Grown(method=Method(sampler=sampler))) for sampler in ("gumbel", {"name": "gumbel"}))
    assert one == other != digest(Grown(method=Method(sampler={"name": "gumbel", "tau": 10})))


def test_a_retired_setting_counts_with_the_value_it_always_had() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Rest:
        name: str = "darts"
        relaxation: str = "softmax"
        hypergradient: str = "first_order"
        warmup_epochs: int = 0

    retired: Any = replace(SearchConfig(), method=Rest())  # type: ignore[arg-type]
    assert digest(retired) == digest(SearchConfig())


@dataclass(frozen=True, kw_only=True)
class Weights(WeightConfig):
    lr: float = field(default=0.1, metadata={"was": {3: 0.025, 5: 0.05}})


@dataclass(frozen=True, kw_only=True)
class Changed(SearchConfig):
    """Edition 3 changed two defaults, one of them that of a setting of edition 2; edition 5 one of them again."""

    warp: int = field(default=7, metadata={"since": 2, "was": {3: 3}})
    weights: WeightConfig = field(default_factory=Weights)


def in_folder(config: Any, root: Path, **values: Any) -> Any:
    return replace(config, run=RunConfig(root=str(root)), **values)


def test_the_defaults_of_each_edition() -> None:
    (lr,) = (f for f in dataclasses.fields(Weights) if f.name == "lr")
    assert [default_in(lr, edition) for edition in range(1, 7)] == [0.025, 0.025, 0.05, 0.05, 0.1, 0.1]
    config = Changed(weights=Weights(lr=0.3))
    assert in_edition(config, 1) == Changed(weights=Weights(lr=0.3), warp=3), "what was typed stays"
    assert in_edition(Changed(), 4) == Changed(weights=Weights(lr=0.05))


def test_a_new_setting_whose_default_changes_is_left_out_at_its_first_one() -> None:
    """Or runs from before would be taken for those with the present default."""
    first = Changed(warp=3, weights=WeightConfig())
    assert digest(first) == digest(SearchConfig()) != digest(Changed(weights=WeightConfig()))


@pytest.mark.parametrize("name", [None, "mine"])
def test_a_run_of_earlier_defaults_is_found_by_its_command(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str | None
) -> None:
    run = RunConfig(root=str(tmp_path), name=name)
    old, command = SearchConfig(run=run), Changed(run=run)
    path = RunFolder.open(old, "search").path
    with caplog.at_level(logging.INFO):
        begun = as_begun(command, "search")
    assert begun == replace(command, warp=3, weights=Weights(lr=0.025)), "the numbers stay those that it began with"
    assert [r.message for r in caplog.records] == [
        f"{path} was begun with other defaults and keeps them: weights.lr 0.1 -> 0.025, warp 7 -> 3"
    ]
    assert RunFolder.open(begun, "search").path == path
    assert RunFolder.find_finished(command, "search") is None
    RunFolder(path).finish({"x": 1})
    finished = RunFolder.find_finished(command, "search")
    assert finished is not None and finished.result == {"x": 1}


def test_the_latest_edition_with_a_run_is_taken(tmp_path: Path) -> None:
    command = in_folder(Changed(), tmp_path)
    for edition in (1, 3, 5):
        made = in_edition(command, edition)
        RunFolder.open(made, "search")
        assert as_begun(command, "search") == made
    assert len(list(tmp_path.iterdir())) == 3


def test_where_earlier_defaults_are_not_looked_for(tmp_path: Path) -> None:
    """Another value was typed; or run.fresh asks for a new beginning."""
    RunFolder.open(in_folder(SearchConfig(), tmp_path), "search")
    typed = in_folder(Changed(), tmp_path, weights=Weights(lr=0.3))
    assert as_begun(typed, "search") is typed
    fresh = replace(Changed(), run=RunConfig(root=str(tmp_path), fresh=True))
    assert as_begun(fresh, "search") is fresh


def numbers(config: Any) -> set[int]:
    """The editions that the settings of a stage speak of."""
    editions = {1}
    for f in dataclasses.fields(config):
        editions |= {f.metadata.get("since", 1), *f.metadata.get("was", {})}
        if dataclasses.is_dataclass(value := getattr(config, f.name)):
            editions |= numbers(value)
    return editions


def test_no_setting_is_ahead_of_the_edition() -> None:
    assert numbers(Changed()) == {1, 2, 3, 5}, "the count itself"
    assert all(max(numbers(config)) <= EDITION for config in (SearchConfig(), RetrainConfig()))


@pytest.mark.parametrize("entry", NAMES, ids=lambda entry: entry["name"])
def test_commands_of_before_give_the_names_of_before(monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> None:
    """Recorded with the code before the first of these rules; nothing is run."""
    if "child_overrides" in entry:
        assert child_name(entry["stage"], entry["child_overrides"]) == entry["name"]
        return
    monkeypatch.chdir(FIXTURES)
    register()
    stage, overrides = entry["stage"], entry["overrides"]
    record = STAGES[stage]
    (config,) = check(record, record.overrides(overrides)).configs
    assert record.label is not None
    label = record.label(config)
    own = identity(config, stage, label.text)[1]
    assert (own, run_path(config, label.prefix, own).name) == (entry["hash"], entry["name"])
