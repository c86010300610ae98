"""Run folders that others made or changed: whatever they hold, one clear line comes of it, and never other weights."""

import copy
import hashlib
import json
import logging
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.config import RetrainConfig, from_mapping
from supernet.errors import SupernetError
from supernet.runs import folder, manifest
from supernet.runs.checkpoint import STATE, Checkpoints
from supernet.runs.folder import RunFolder
from supernet.runs.log import RunLog
from supernet.runs.shapes import as_written
from supernet.space import get_space
from supernet.stages import STAGES
from supernet.stages.inherited.words import inherited_words
from supernet.stages.run_draw import run_strengths
from supernet.stages.run_export import run_export
from supernet.stages.run_retrain import run_retrain
from supernet.train.trained import trained_network

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "runs"
SEARCH = "darts-darts_first_order-digits-s0-63fa20b5"
RETRAIN, STOPPED = "retrain-e27a80857d76a370-digits-s0-db12764f", "retrain-e27a80857d76a370-digits-s1-4d3f5097"
STRANGE: tuple[object, ...] = (None, "text", [1], {"a": 1}, -1, True)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with copies of three runs."""
    for name in (SEARCH, RETRAIN, STOPPED):
        shutil.copytree(FIXTURES / name, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def forgeries(value: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each entry at two levels with two strange values, all in turn, and (the value is `...`) gone."""
    below = {key: entry for key, entry in value.items() if isinstance(entry, dict)}
    places = [(key,) for key in value] + [(key, inner) for key, entry in below.items() for inner in entry]
    for number, where in enumerate(places):
        yield from ((where, strange) for strange in (STRANGE[number % 6], STRANGE[(number + 2) % 6]))
        if len(where) == 1 or number % 2:
            yield where, ...


def forged(value: dict[str, Any], where: tuple[str, ...], strange: object) -> dict[str, Any]:
    value = copy.deepcopy(value)
    inner = value
    for key in where[:-1]:
        inner = inner[key]
    if strange is ...:
        del inner[where[-1]]
    else:
        inner[where[-1]] = strange
    return value


def one_line(work: Callable[[], object], told: list[str]) -> None:
    """Runs `work`; what is not a SupernetError fails the test."""
    try:
        work()
    except SupernetError as error:
        told.append(str(error))


def config_of(path: Path, /, **more: object) -> RetrainConfig:
    return from_mapping(RetrainConfig, {**json.loads((path / "config.json").read_text())["config"], **more})


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("search", "config.json"),
        ("search", "result.json"),
        ("retrain", "config.json"),
        ("retrain", "result.json"),
        ("retrain", "version.json"),
    ],
)
def test_each_entry_of_each_record(stage: str, file: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every reader of the command line, but for those that build a network."""
    run, record = RunFolder(place / (SEARCH if stage == "search" else RETRAIN)), STAGES[stage]
    good = json.loads((run.path / file).read_text())
    retrain, told, count = config_of(place / RETRAIN), list[str](), 0
    readers: list[Callable[[], object]] = [
        lambda: record.rows(run),
        lambda: record.next(run),
        lambda: record.score(run),
    ]
    if file == "config.json":
        readers.append(lambda: inherited_words([f"genotype={run.path}"]))
    if (stage, file) == ("retrain", "config.json"):
        readers.append(lambda: STAGES["retrain"].finished(retrain))
    if file == "version.json":
        readers = [run._write_versions]
        monkeypatch.setattr(folder, "versions", lambda: good)
    for where, strange in forgeries(good):
        (run.path / file).write_text(json.dumps(forged(good, where, strange)))
        for reader in readers:
            one_line(reader, told)
        count += 1
    assert count > 15 and told and not [text for text in told if "\n" in text]
    for text in ("[]", "{", "[" * 100_000, '"\ud800"', ""):
        (run.path / file).write_bytes(text.encode(errors="surrogatepass"))
        with pytest.raises(SupernetError, match=f"{file} is damaged"):
            run._write_versions() if file == "version.json" else (run.config, run.result)


def sealed(parent: Path, text: str) -> Path:
    """A checkpoint in `parent` whose manifest is `text`, with the digest that belongs to it."""
    path = parent / manifest.folder_name(3, manifest._short(text.encode()))
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(text)
    return path


def test_each_entry_of_a_manifest_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    entry = {"bytes": 3, "sha256": "a"}
    facts = {"step": 3, "best": True, "config": None, "versions": {"torch": "2"}, "files": {STATE: entry}}
    good = {"schema": manifest.SCHEMA, **facts}
    texts = ["[]", "{", "[" * 100_000, "3", *(json.dumps(forged(good, *change)) for change in forgeries(good))]
    texts += [json.dumps(good | {"files": {STATE: value}}) for value in (None, {}, {"bytes": "3", "sha256": "a"})]
    outcomes: list[str] = []
    for number, text in enumerate(texts):
        path = sealed(tmp_path / str(number), text)
        one_line(lambda path=path: manifest.read(path), outcomes)  # type: ignore[misc]
        one_line(lambda path=path: Checkpoints(path.parent).latest(), outcomes)  # type: ignore[misc]
        one_line(lambda path=path: Checkpoints(path.parent).best(), outcomes)  # type: ignore[misc]
    assert len(outcomes) > len(texts)


def saved(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """A further checkpoint of the run, with the hash that it should have, of a state that was changed."""
    checkpoints = Checkpoints(run / "checkpoints", config=RunFolder(run).hash)
    found = checkpoints.latest()
    assert found is not None
    state = found[1]
    change(state)
    checkpoints.save(found[0] + 1, state, best=True)


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "nothing in it": lambda state: state.clear(),
    "no program": lambda state: state.pop("program"),
    "a program that is a list": lambda state: state.update(program=[1]),
    "other shapes": lambda state: state["program"]["net"].update({"classifier.weight": torch.zeros(3)}),
    "fewer weights": lambda state: state["program"]["net"].popitem(),
    "weights that are text": lambda state: state["program"].update(net="text"),
    "an optimiser of another network": lambda state: state["program"]["optimizer"]["param_groups"].clear(),
    "no generators": lambda state: state.update(rng={"python": 3}),
    "short generators": lambda state: state["rng"].update(torch=torch.zeros(3, dtype=torch.uint8)),
    "time that is text": lambda state: state.update(seconds="long"),
    "sums that are text": lambda state: state.update(sums="text"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_part_of_a_state(change: Callable[[dict[str, Any]], object], place: Path) -> None:
    run = place / STOPPED
    saved(run, change)
    before = sorted(path.name for path in (run / "checkpoints").iterdir())
    with pytest.raises(SupernetError) as caught:
        run_retrain(config_of(run))
    assert "\n" not in str(caught.value) and "a state of this run" in str(caught.value)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == before, "nothing is thrown away"


def test_a_state_that_is_none(place: Path) -> None:
    run = place / STOPPED
    new = run / "checkpoints" / ".new"
    new.mkdir()
    torch.save([1, 2], new / STATE)
    data = (new / STATE).read_bytes()
    facts = {"step": 9, "best": True, "config": RunFolder(run).hash, "versions": {"torch": "2"}}
    digest = manifest.seal(new, {STATE: (len(data), hashlib.sha256(data).hexdigest())}, **facts)
    new.rename(run / "checkpoints" / manifest.folder_name(9, digest))
    with pytest.raises(SupernetError, match="holds a list, and no state of a run"):
        run_retrain(config_of(run))


@pytest.mark.parametrize("reader", [trained_network, lambda run: run_export(STAGES["export"].config(run=str(run)))])  # type: ignore[misc]
def test_another_retraining_s_weights_are_refused(reader: Callable[[Path], object], place: Path) -> None:
    """The networks are of the same shape; an export, the loading in Python, and resuming alike."""
    shutil.rmtree(place / RETRAIN / "checkpoints")
    shutil.copytree(place / STOPPED / "checkpoints", place / RETRAIN / "checkpoints")
    with pytest.raises(SupernetError, match="is of the configuration 4d3f5097, this run has db12764f"):
        reader(place / RETRAIN)
    assert not (place / RETRAIN / "model").exists()


def test_another_run_s_genotype_is_refused(place: Path) -> None:
    get_space("darts", nodes=2).sample(random.Random(1)).save(place / RETRAIN / "genotype.json")
    with pytest.raises(SupernetError, match="genotype.json is of another run: its hash is"):
        trained_network(place / RETRAIN)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"arguments": {"channels": "many"}}, "channels='many' of the 'darts' network must be of type int"),
        ({"arguments": {"channels": 8}}, "describes another network than the best checkpoint is of"),
        ({"data": {"input_size": "big"}}, "does not hold what is known of images"),
        ({"data": {"input_size": [1, 8]}}, "must be \\(channels, height, width\\)"),
        ({"metrics": {"test/top1": [1]}}, "'test/top1' is \\[1\\]"),
    ],
)
def test_a_result_that_an_export_reads(change: dict[str, Any], told: str, place: Path) -> None:
    path = place / RETRAIN / "result.json"
    result = json.loads(path.read_text())
    result.update({key: {**result[key], **value} for key, value in change.items()})
    path.write_text(json.dumps(result))
    with pytest.raises(SupernetError, match=told):
        run_export(STAGES["export"].config(run=str(place / RETRAIN)))  # type: ignore[misc]


def test_mixing_weights_of_a_strange_search(place: Path) -> None:
    path, space = place / SEARCH, get_space("darts", nodes=2, operations=["none", "skip_connect", "max_pool_3x3"])
    saved(path, lambda state: state.update(program={"bilevel": 3}))
    with pytest.raises(SupernetError, match="does not hold a state of this search"):
        run_strengths(space, path)


def test_a_log_of_strange_rows(tmp_path: Path) -> None:
    rows = ['{"step": "7"}', '{"step": 1, "x": 2}', '{"step": null}', "[" * 100_000, "[3]", '{"step": 2}']
    (tmp_path / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    RunLog(tmp_path, config_of(FIXTURES / RETRAIN).log, resume_step=1).close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "x": 2}\n'


def test_a_want_of_memory_is_no_forgery() -> None:
    with pytest.raises(MemoryError), as_written(Path("x"), "a state"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="^not enough memory"), as_written(Path("x"), "a state"):
        raise RuntimeError("not enough memory: you tried to allocate 3 bytes")


def test_a_retraining_that_lost_its_checkpoints_says_so(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = place / STOPPED
    shutil.rmtree(run / "checkpoints")
    with caplog.at_level(logging.INFO):
        run_retrain(config_of(run), until=1)
    lines = [record.message for record in caplog.records if "no checkpoint" in record.message]
    assert lines == [f"runs/{STOPPED} has no checkpoint: it starts again at epoch 1"]
    caplog.clear()
    run_retrain(config_of(run, run={"root": "runs", "name": "new"}), until=1)
    assert "no checkpoint" not in caplog.text, "a new run has none to lose"


def test_another_number_of_threads_is_told(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = place / STOPPED
    path = run / "version.json"
    noted = json.loads(path.read_text())
    noted["resumed"].append(noted | {"threads": 3, "resumed": []})
    path.write_text(json.dumps(noted))
    for times in (1, 0):
        caplog.clear()
        run_retrain(config_of(run), until=3)
        told = [record.message for record in caplog.records if "threads" in record.message]
        assert len(told) == times
        text = f"was run with 3 threads and goes on with {torch.get_num_threads()}: on a processor the last bits"
        assert all(text in line for line in told)
