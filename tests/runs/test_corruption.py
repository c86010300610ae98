"""Damage of every kind is noticed: the newest good checkpoint is loaded, the bad one set aside, never a silent load."""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from supernet.errors import SupernetError
from supernet.runs import manifest
from supernet.runs.checkpoint import Checkpoints

FILES = ("state.pt", "manifest.json")
PAGE = 4096


def flipped(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncated(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def zeroed(data: bytes, rng: random.Random) -> bytes:
    begin = PAGE * rng.randrange(-(-len(data) // PAGE))
    return data[:begin] + bytes(len(data[begin : begin + PAGE])) + data[begin + PAGE :]


class Case:
    """Two checkpoints of about 50 KB, the newer of which is damaged and mended again."""

    def __init__(self, folder: Path) -> None:
        self.states = [{"x": torch.randn(12_000), "step": step} for step in (1, 2)]
        for state in self.states:
            Checkpoints(folder).save(int(state["step"]), state)
        self.folder = folder
        self.older, self.newer = sorted(folder.iterdir())
        self.good = {name: (self.newer / name).read_bytes() for name in FILES}

    def outcome(self) -> str:
        """What a reader gets: `fell back` (the older one, bit by bit), `silent` (the newer one), or another text."""
        found = Checkpoints(self.folder).latest()
        if found is None or found[0] == 2:
            return "silent" if found else "nothing"
        return "fell back" if torch.equal(found[1]["x"], self.states[0]["x"]) else "wrong"

    def mend(self) -> None:
        (aside,) = self.folder.glob("*.corrupt")
        assert aside.name == f"{self.newer.name}.corrupt"
        aside.rename(self.newer)
        for name, data in self.good.items():
            (self.newer / name).write_bytes(data)


def damage_at_random(
    case: Case, log: pytest.LogCaptureFixture, damage: Callable[[bytes, random.Random], bytes], count: int
) -> dict[str, int]:
    """How often each outcome came; every fifth time it is the manifest that is damaged."""
    rng, outcomes = random.Random(f"{damage.__name__}"), dict.fromkeys(("fell back", "silent"), 0)
    for i in range(count):
        name = FILES[i % 5 == 0]
        data = case.good[name]
        while data == case.good[name]:
            data = damage(data, rng)
        (case.newer / name).write_bytes(data)
        log.clear()
        outcome = case.outcome()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        (record,) = log.records
        assert record.levelno == logging.WARNING and str(case.newer / name) in record.message
        case.mend()
    return outcomes


def damage_manifest(case: Case, how: str) -> None:
    path = case.newer / "manifest.json"
    if how == "missing":
        path.unlink()
    elif how == "swapped":
        path.write_bytes((case.older / "manifest.json").read_bytes())
    else:
        path.write_bytes(b"")


def test_all_damage_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture, promise: Any) -> None:
    case = Case(tmp_path)
    assert case.outcome() == "silent", "whole, the newer one is what a reader gets"
    noticed = 0
    for damage, count in ((flipped, 300), (truncated, 100), (zeroed, 100)):
        assert damage_at_random(case, caplog, damage, count) == {"fell back": count, "silent": 0}
        noticed += count
    for how in ("missing", "swapped", "empty"):
        damage_manifest(case, how)
        assert case.outcome() == "fell back"
        case.mend()
    assert case.outcome() == "silent", "mended, it is good again: nothing but the damage was noticed"
    promise(
        "300 flipped bits, 100 truncations, 100 zeroed pages: noticed, the older one loaded; missing, swapped, empty "
        "manifest: the same",
        f"{noticed}/500; 3/3",
    )


@pytest.mark.parametrize("how", ["state", "missing", "swapped names", "absent state", "no digest in the name"])
def test_where_all_are_damaged_nothing_is_touched(tmp_path: Path, how: str) -> None:
    case = Case(tmp_path)
    for path in (case.older, case.newer):
        if how == "state":
            (path / "state.pt").write_bytes(zeroed((path / "state.pt").read_bytes(), random.Random(0)))
        elif how == "missing":
            (path / "manifest.json").unlink()
        elif how == "absent state":
            (path / "state.pt").unlink()
        elif how == "no digest in the name":
            path.rename(path.with_name(path.name[:13]))
    if how == "swapped names":
        for path, step in ((case.older, "00000002"), (case.newer, "00000001")):
            path.rename(path.with_name(path.name.replace(path.name[5:13], step)))

    def content() -> dict[Path, Any]:
        return {p: (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in tmp_path.rglob("*")}

    before = content()
    for _ in range(2):
        with pytest.raises(SupernetError, match=r"none of the 2 checkpoints .* run\.fresh=true") as caught:
            Checkpoints(tmp_path).latest()
        assert "\n" not in str(caught.value)
    assert content() == before


def test_a_second_damaged_one_of_the_same_name(tmp_path: Path) -> None:
    case = Case(tmp_path)
    for _ in range(2):
        (case.newer / "state.pt").write_bytes(b"")
        assert case.outcome() == "fell back"
        case.newer.mkdir()
        for name, data in case.good.items():
            (case.newer / name).write_bytes(data)
    assert len(list(tmp_path.glob("*.corrupt*"))) == 2


def test_a_damaged_best_one_is_an_error_and_not_the_last_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    best = checkpoints.save(1, {"x": 1}, best=True)
    checkpoints.save(2, {"x": 2})
    (best / "state.pt").write_bytes(b"")
    with pytest.raises(SupernetError, match=r"state\.pt has 0 bytes"):
        checkpoints.best()
    (best / "manifest.json").write_bytes(b"{}")
    with pytest.raises(SupernetError, match="no good checkpoint of the best epoch"):
        checkpoints.best()
    for step in (3, 4, 5):  # it is old enough to be removed, and as a damaged one it must not be
        checkpoints.save(step, {"x": step})
    assert checkpoints.steps == [4, 5] and [path.name for path in tmp_path.glob("*.corrupt")] == [
        f"{best.name}.corrupt"
    ]
    with pytest.raises(SupernetError, match=r"set aside as \*\.corrupt"):
        checkpoints.best()
    checkpoints.save(6, {"x": 6}, best=True)
    assert checkpoints.best() == (6, {"x": 6})


def test_another_version_or_configuration_is_refused_and_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Checkpoints(tmp_path, config="aaaaaaaa").save(1, {"x": 1})
    assert Checkpoints(tmp_path, config="aaaaaaaa").latest() == Checkpoints(tmp_path).latest() == (1, {"x": 1})
    with pytest.raises(SupernetError, match="of the configuration aaaaaaaa, this run has bbbbbbbb"):
        Checkpoints(tmp_path, config="bbbbbbbb").latest()
    monkeypatch.setattr(manifest, "SCHEMA", 3)
    with pytest.raises(SupernetError, match="layout 2; this version reads 3"):
        Checkpoints(tmp_path).latest()
    assert list(tmp_path.iterdir()) == [path]


def test_what_this_torch_cannot_load_is_not_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **options: object) -> None:
        assert options["weights_only"] is True
        raise RuntimeError("unknown opcode\nand a long explanation")

    path = Checkpoints(tmp_path).save(1, {"x": 1})
    monkeypatch.setattr(torch, "load", load)
    with pytest.raises(SupernetError, match=r"cannot be loaded \(unknown opcode\); written with torch") as caught:
        Checkpoints(tmp_path).latest()
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == [path]
