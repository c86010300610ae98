"""Which words of `supernet compare` are its own, what its lists may hold, and what becomes of them."""

from pathlib import Path

import pytest
import yaml

from supernet.cli.run_stage import read
from supernet.cli.validate import check
from supernet.config import RetrainConfig, SearchConfig
from supernet.errors import SupernetError
from supernet.network import Supernet
from supernet.ops import OPERATIONS
from supernet.stages import STAGES
from supernet.stages.compare import CompareConfig, plan
from supernet.stages.compare.plan import Row, planned
from supernet.stages.compare.words import checked, sorted_words
from supernet.stages.next_command import word
from supernet.stages.space_config import configured

TINY = ["space=nasbench201", "network.channels=2", "network.cells_per_stage=1", "data.limit=64"]


def rows_of(*words: str) -> list[Row]:
    (config,) = read("compare", words)
    assert isinstance(config, CompareConfig)
    return planned(config, read)


def test_words_go_where_they_belong() -> None:
    typed = ["methods=[a,b]", "-cd", "mine", "space=s2", "retrain.epochs=5", "+network.partial=4", "~experiment",
             "search.data.cutout=0", "run.root=R", "suite=mini", "hydra.verbose=true", "--cfg", "job"]  # fmt: skip
    assert sorted_words(typed) == [
        "methods=[a,b]", "config_dir=mine", "run.root=R", "suite=mini", "hydra.verbose=true",
        'search=["space=s2","+network.partial=4","~experiment","data.cutout=0"]', 'retrain=["epochs=5"]',
        "-cd", "mine", "--cfg", "job",
    ]  # fmt: skip

    assert sorted_words(["-sc", "query=bash"]) == ["-sc", "query=bash"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=darts"], r"method= is not set here; give methods=\[NAME,...\]"),
        (["seed=3"], r"seed= is not set here; give seeds=N"),
        (["sedes=5"], "unknown setting of supernet compare: 'sedes'; did you mean 'seeds'"),
        (["-m", "epochs=1,2"], "compare takes no -m"),
        (["retrain=[a]", "retrain.epochs=5"], "retrain is given as a list and by words such as 'epochs=5'"),
    ],
)
def test_a_mistake_in_words_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        sorted_words(words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--trust", "is no key=value"),
        ("space.allow=[os]", "which a list of words may not set; type it"),
        ("hydra/launcher=joblib", "may not set"),
        ("data.root=${oc.env:HOME}", "may not set"),
        ("run.root=/elsewhere", "give run.root and run.name of compare"),
        ("seed=1", "give seeds=N"),
    ],
)
def test_lists_from_files_hold_settings_alone(text: str, message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        checked([text], "rows.mine.search")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seeds": 0}, "seeds=0 must be 1 or more"),
        ({"seeds": [1, 1]}, "seeds names 1 twice"),
        ({"methods": ["a", "a"]}, "methods names a twice"),
        ({"tolerance": 1.5}, "tolerance=1.5 must lie in"),
        ({"jobs": 0}, "jobs=0 must be 1 or more"),
    ],
)
def test_settings_refuse(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        CompareConfig(**settings)  # type: ignore[arg-type]


def test_one_budget_whatever_a_method_sets(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    text = "# @package _global_\nmethod: {name: long}\nepochs: 9\nbatch_size: 8\nalphas: {lr: 0.5}\n"
    (tmp_path / "method" / "long.yaml").write_text(text)
    config = CompareConfig(
        methods=["darts_first_order", "long"],
        config_dir=str(tmp_path),
        search=[*TINY, "alphas.weight_decay=0.5", "device=cpu"],
        retrain=["epochs=5", "recipe.lr=0.25"],
        random_ws="off",
    )
    (row,) = planned(config, read)
    long, plain = row.methods["long"].config, row.methods["darts_first_order"].config
    assert (long.epochs, long.alphas.lr, long.alphas.weight_decay) == (50, 0.5, 0.5), "a method is its preset"
    assert (plain.epochs, plain.alphas.lr, plain.alphas.weight_decay) == (50, 3e-4, 0.5)
    assert row.notes == (
        "long asks for 9 epochs and searches 50, as all others do", "long searches with batch_size=8, others with 64",
    )  # fmt: skip
    kept = row.retraining
    assert (kept.epochs, kept.recipe.lr, kept.device, kept.data) == (5, 0.25, "cpu", plain.data)
    assert kept.network == {"channels": 2, "cells_per_stage": 1}, "the size of the search"
    # A process of its own makes the same of the words.
    search, own = row.methods["long"].at(4)
    assert read("search", own) == (search,) and isinstance(search, SearchConfig) and search.seed == 4
    retraining, own = row.retrain_at(Path("DARTS_V2"), 4, dead=True)
    stage = STAGES["retrain"]
    assert stage.inherited(own) == [], "nothing is looked up once more"
    assert check(stage, stage.overrides(own)).configs == (retraining,)
    assert isinstance(retraining, RetrainConfig) and retraining.allow_dead


def test_random_search_with_shared_weights_is_a_control_where_there_is_a_preset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CompareConfig(methods=["darts"])
    monkeypatch.setattr(plan, "preset_names", lambda group: ["darts"])
    assert plan.method_names(config) == (
        ["darts"],
        ["the control random_ws is left out, it is no preset of method here"],
    )
    monkeypatch.setattr(plan, "preset_names", lambda group: ["darts", "random_ws"])
    assert plan.method_names(config) == (["darts", "random_ws"], [])
    assert plan.method_names(CompareConfig(methods=["random_ws"])) == (["random_ws"], [])
    assert plan.method_names(CompareConfig(methods=["darts"], random_ws="off")) == (["darts"], [])


def test_the_mini_suite(root: Path) -> None:
    rows = yaml.safe_load((root / "conf" / "suite" / "mini.yaml").read_text())["rows"]
    sets = ("all", "no_skip", "skip_everywhere")
    assert list(rows) == [f"{network}_{ops}" for network in ("wide", "deep", "single_cell") for ops in sets]
    (row,) = rows_of(word("+rows.one.search", rows["single_cell_skip_everywhere"]["search"]), "network.channels=4")
    space = configured(row.base.space)
    offered = {op for table in space.tables for op in table.columns}
    assert offered <= set(OPERATIONS)
    assert {op for op in offered if not op.endswith("_with_skip")} == {"none", "skip_connect"}
    assert row.base.network == {"channels": 4, "cells_per_stage": 1, "stages": 1}, "what is typed wins"
    assert row.retraining.network == row.base.network
    assert len(Supernet(space, **row.base.network).sites) == 1
    for name, words in rows.items():
        listed = [text for text in words["search"] if text.startswith("space.args.operations")]
        assert bool(listed) == (not name.endswith("_all"))
        assert name.endswith("_no_skip") == any("skip" not in text for text in listed)
