"""A run folder that somebody hands over: links, pipes and records in it lead nowhere outside of it."""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from supernet import files
from supernet.config import LogConfig, RunConfig, SearchConfig
from supernet.errors import SupernetError
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.folder import RunFolder
from supernet.runs.lock import RunLock
from supernet.runs.log import RunLog
from supernet.runs.manifest import FILE, Damaged, seal, verify
from supernet.space.lookup import find_genotype
from supernet.train.trained import trained_network

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "runs"
RETRAINED = FIXTURES / "retrain-e27a80857d76a370-digits-s0-db12764f"
ROW = '{"step": 1}\n'


@pytest.fixture
def config(tmp_path: Path) -> SearchConfig:
    return SearchConfig(run=RunConfig(root=str(tmp_path), name="run"))


@pytest.fixture
def run(config: SearchConfig) -> RunFolder:
    """A run that has begun, with two checkpoints and a log."""
    run = RunFolder.open(config, "search")
    checkpoints = Checkpoints(run.checkpoints, config="x")
    for step in (1, 2):
        checkpoints.save(step, {"a": step}, best=step == 1)
    (run.path / "metrics.jsonl").write_text(ROW)
    (run.path / "tensorboard").mkdir()
    return run


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """What lies elsewhere and must stay as it is: a file, and a folder with what looks like ours."""
    folder = tmp_path / "victim"
    (folder / "step-00000001-00000000").mkdir(parents=True)
    (folder / "step-00000001-00000000" / "mine").write_text("mine")
    (folder / f".tmp-{os.getpid()}-1-x").write_text("mine")
    (folder / "mine").write_text(ROW)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def replace(path: Path, target: Path) -> None:
    """`path` becomes a link to `target`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def go_on(config: SearchConfig) -> None:
    """What a command does with a run that is there: opens, logs, saves, gives the lock back."""
    with RunFolder.open(config, "search", lock=True) as run:
        checkpoints = Checkpoints(run.checkpoints)
        latest = checkpoints.latest()
        with RunLog(run.path, LogConfig(tensorboard=False), resume_step=latest[0] if latest else None) as log:
            for step in (3, 4):
                log.scalars(step, {"loss": 1.0})
                checkpoints.save(step, {"a": step})
        run.finish({})


def test_it_goes_on_as_it_is(config: SearchConfig, run: RunFolder) -> None:
    go_on(config)
    assert run.finished and Checkpoints(run.checkpoints).steps == [1, 3, 4]


@pytest.mark.parametrize(
    "name",
    [".lock", "config.json", "version.json", "metrics.jsonl", "result.json", "nan_report.json", "checkpoints/x", "new"],
)
def test_a_link_in_place_of_a_file(name: str, config: SearchConfig, run: RunFolder, victim: Path) -> None:
    before = content(victim)
    replace(run.path / name, victim / "mine")
    with pytest.raises(SupernetError, match="is a link; put what it leads to in its place"):
        go_on(config)
    assert content(victim) == before


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", ".lock-held", "step-*"])
def test_a_link_in_place_of_a_folder(name: str, config: SearchConfig, run: RunFolder, victim: Path) -> None:
    before = content(victim)
    replace(next(run.checkpoints.glob(name)) if "*" in name else run.path / name, victim)
    with pytest.raises(SupernetError, match="is a link"):
        go_on(config)
    assert content(victim) == before


def test_a_link_to_nowhere_makes_nothing(config: SearchConfig, run: RunFolder, tmp_path: Path) -> None:
    for name in (".lock", "metrics.jsonl"):
        replace(run.path / name, tmp_path / "made")
        with pytest.raises(SupernetError, match="is a link"):
            go_on(config)
        assert not (tmp_path / "made").exists()
        (run.path / name).unlink()


def test_each_part_holds_by_itself(run: RunFolder, victim: Path) -> None:
    """A link that is put there after the folder was looked through, by whoever shares it."""
    before = content(victim)
    attempts: list[tuple[str, Path, Callable[[], object]]] = [
        (".lock", victim / "mine", RunLock(run.path).acquire),
        ("checkpoints", victim, lambda: Checkpoints(run.checkpoints).save(3, {})),
        ("config.json", victim / "mine", lambda: run.config),
        ("result.json", victim / "mine", lambda: run.result),
        ("genotype.json", victim / "mine", lambda: find_genotype(run.path)),
        ("space.yaml", victim / "mine", lambda: find_genotype(run.path)),
    ]
    shutil.copy(RETRAINED / "genotype.json", run.path)
    for name, target, attempt in attempts:
        kept = run.path / f"{name}.kept"
        if (run.path / name).exists():
            (run.path / name).rename(kept)
        (run.path / name).symlink_to(target)
        with pytest.raises(SupernetError, match="is a link"):
            attempt()
        (run.path / name).unlink()
        if kept.exists():
            kept.rename(run.path / name)
    aside = files.tmp_path(run.path / "x")
    aside.symlink_to(victim / "mine")
    files.write_text(run.path / "x", "new")
    assert (run.path / "x").read_text() == "new" and content(victim) == before


def test_a_hard_link_in_place_of_the_lock(config: SearchConfig, run: RunFolder, victim: Path) -> None:
    (run.path / ".lock").unlink(missing_ok=True)
    os.link(victim / "mine", run.path / ".lock")
    with pytest.raises(SupernetError, match="hard link"):
        go_on(config)
    assert (victim / "mine").read_text() == ROW


def test_the_run_folder_itself_may_be_a_link(config: SearchConfig, run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "large-disk")
    run.path.symlink_to(tmp_path / "large-disk")
    go_on(config)
    assert run.finished


@pytest.mark.parametrize("name", ["config.json", "checkpoints/step-00000001-00000000/state.pt", "result.json", ".lock"])
def test_a_pipe_is_refused_and_waits_for_nobody(name: str, config: SearchConfig, run: RunFolder) -> None:
    (run.path / name).unlink(missing_ok=True)
    (run.path / name).parent.mkdir(exist_ok=True)
    os.mkfifo(run.path / name)
    for attempt in (lambda: go_on(config), lambda: RunFolder.existing(run.path).config):
        with pytest.raises(SupernetError, match="is a named pipe|unknown run folder"):
            attempt()


def test_a_record_is_not_read_without_end(run: RunFolder) -> None:
    with open(run.path / "config.json", "wb") as file:
        file.truncate(2**40)  # a hole: it takes no room
    with pytest.raises(SupernetError, match="1,099,511,627,776 bytes or more; at most"):
        _ = run.config


@pytest.mark.parametrize("name", ["../../victim/mine", "/etc/hostname", "..", ".", "sub/mine", ""])
def test_a_manifest_names_files_beside_it(name: str, tmp_path: Path, victim: Path) -> None:
    entry = {"bytes": len(ROW), "sha256": hashlib.sha256(ROW.encode()).hexdigest()}
    facts = {"schema": 2, "step": 1, "best": True, "config": None, "versions": {"torch": "2"}}
    text = json.dumps({**facts, "files": {name: entry}}).encode()
    folder = tmp_path / "checkpoints" / f"step-00000001-{hashlib.sha256(text).hexdigest()[:8]}"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "mine").write_text(ROW)
    (folder / FILE).write_bytes(text)
    with pytest.raises(Damaged, match="which lies elsewhere"):
        verify(folder)


def test_fresh_moves_runs_and_nothing_else(tmp_path: Path, victim: Path) -> None:
    """The names of the settings may come from a YAML file of somebody else's."""
    config = SearchConfig(run=RunConfig(root=str(tmp_path), name="victim", fresh=True))
    with pytest.raises(SupernetError, match="is no run folder"):
        RunFolder.open(config, "search")
    assert victim.is_dir() and (victim / "mine").exists()
    shutil.rmtree(victim)
    for _ in range(2):  # an empty one, and one that was killed before it had a config.json
        victim.mkdir()
        (victim / ".lock").touch()
        RunFolder.open(config, "search")
        shutil.rmtree(victim)


@pytest.mark.parametrize("name", ["model", "checkpoints", "genotype.json", "result.json"])
def test_an_export_out_of_a_run_follows_no_link(name: str, tmp_path: Path, victim: Path) -> None:
    run = shutil.copytree(RETRAINED, tmp_path / "run")
    before = content(victim)
    replace(run / name, victim if "." not in name else victim / "mine")
    with pytest.raises(SupernetError, match="is a link"):
        trained_network(run)
    assert content(victim) == before


@pytest.mark.parametrize("argument", ["channels", "layers"])
def test_a_record_of_another_size_takes_no_memory(argument: str, tmp_path: Path) -> None:
    import resource

    run = shutil.copytree(RETRAINED, tmp_path / "run")
    result = json.loads((run / "result.json").read_text())
    result["arguments"][argument] = {"channels": 1024, "layers": 9}[argument]
    (run / "result.json").write_text(json.dumps(result))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SupernetError, match=r"result\.json describes another network than the best checkpoint is of"):
        trained_network(run)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_checkpoint_that_unpacks_to_more_than_it_has(tmp_path: Path) -> None:
    """Packed zeros: 16 MB in some kilobytes, and the same with every digest as it should be."""
    plain, folder = tmp_path / "plain", tmp_path / "checkpoints"
    torch.save({"a": torch.zeros(4_000_000)}, plain)
    with zipfile.ZipFile(plain) as whole, zipfile.ZipFile(tmp_path / "state.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in whole.infolist():
            packed.writestr(entry.filename, whole.read(entry))
    data = (tmp_path / "state.pt").read_bytes()
    assert len(data) < 100_000
    aside = folder / "aside"
    aside.mkdir(parents=True)
    (aside / "state.pt").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    name = seal(aside, {"state.pt": (len(data), digest)}, step=1, best=True, config=None, versions={"torch": "2"})
    aside.rename(folder / f"step-00000001-{name}")
    with pytest.raises(SupernetError, match="unpacks to 16,0"):
        Checkpoints(folder).latest()
