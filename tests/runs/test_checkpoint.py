"""Checkpoints: whole or absent under SIGKILL, what is kept, what may be saved, random generators bit for bit."""

import hashlib
import json
import logging
import os
import platform
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from supernet import __version__
from supernet.errors import SupernetError
from supernet.runs import manifest
from supernet.runs.checkpoint import Checkpoints
from supernet.runs.state import check_plain, rng_state, set_rng_state
from tests.support.forked import ended, fork

DEAD = 2**22 + 5  # above the largest process number of Linux


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def _path(folder: Path, step: int) -> Path:
    (path,) = folder.glob(f"step-{step:08d}-*")
    return path


def _write_on(folder: Path, said: int) -> None:
    """Saves ever further steps and writes each to the descriptor `said` once it is on disk."""
    checkpoints = Checkpoints(folder, keep=2)
    latest = checkpoints.latest()
    step = latest[0] if latest else 0
    while True:
        step += 1
        checkpoints.save(step, {"step": step, "x": torch.full((20000,), float(step))}, best=step % 5 == 0)
        os.write(said, step.to_bytes(4, "big"))


def _kill_while_saving(folder: Path, wait: float) -> int:
    """Runs the writer, kills it `wait` seconds after its first save; the last step that it said was saved."""
    reading, writing = os.pipe()
    child = fork(lambda: _write_on(folder, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read(4)
        time.sleep(wait)
        os.kill(child, signal.SIGKILL)
        said += pipe.read()
    assert ended(child) == -signal.SIGKILL
    return int.from_bytes(said[-4:], "big")


def _killed(folder: Path, tries: int) -> int:
    """Kills a writer `tries` times and checks what it left; how many kills hit a save."""
    rng, last, hits = random.Random(0), 0, 0
    for _ in range(tries):
        said = _kill_while_saving(folder, rng.uniform(0.0, 0.05))
        assert said > last, "the writer must go on from what was saved"
        hits += any(name.startswith(".tmp-") for name in _names(folder))
        checkpoints = Checkpoints(folder)
        assert all(checkpoints.load(step)["step"] == step for step in checkpoints.steps), (
            "all that have a name are whole"
        )
        found = checkpoints.latest()
        assert found is not None
        last, state = found
        assert last in (said, said + 1)
        assert torch.equal(state["x"], torch.full((20000,), float(last)))
        best = checkpoints.best()
        assert last < 5 or (best is not None and best[0] == last - last % 5)
        assert not [name for name in _names(folder) if name.startswith(".tmp-")]
        assert len(_names(folder)) <= 4, "the last two, the best, and one that the kill kept from being removed"
    return hits


def test_a_kill_during_saves_leaves_the_newest_whole(tmp_path: Path) -> None:
    _killed(tmp_path, 5)


@pytest.mark.long
def test_many_kills_during_saves(tmp_path: Path) -> None:
    assert _killed(tmp_path, 100) >= 10


def test_half_written_ones_are_ignored_and_removed(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, {"x": 3})
    half = tmp_path / f".tmp-{DEAD}-step-00000004"
    good = _path(tmp_path, 3)
    shutil.copytree(good, half)
    (half / "manifest.json").unlink()
    living = tmp_path / f".tmp-{os.getppid()}-step-00000005"
    living.mkdir()
    assert checkpoints.latest() == (3, {"x": 3}) and checkpoints.steps == [3]
    assert _names(tmp_path) == [living.name, good.name]


def test_layout(tmp_path: Path) -> None:
    path = Checkpoints(tmp_path, config="0a1b2c3d").save(123, {"x": torch.ones(3)}, best=True)
    assert _names(path) == ["manifest.json", "state.pt"]
    text, state = (path / "manifest.json").read_bytes(), (path / "state.pt").read_bytes()
    versions = {"supernet": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
    expected = {"schema": 2, "step": 123, "best": True, "config": "0a1b2c3d", "versions": versions}
    files = {"state.pt": {"bytes": len(state), "sha256": hashlib.sha256(state).hexdigest()}}
    assert json.loads(text) == {**expected, "files": files} == manifest.verify(path)
    assert path.name == "step-00000123-" + hashlib.sha256(text).hexdigest()[:8]


def test_two_at_least_are_kept(tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match="keep=1 must be 2 or more"):
        Checkpoints(tmp_path, keep=1)


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    assert checkpoints.latest() is None and checkpoints.best() is None
    for step in range(1, 13):
        checkpoints.save(step, {"step": step}, best=step in (2, 4))
        best = 4 if step >= 4 else 2 if step >= 2 else None
        assert checkpoints.steps == sorted({*range(max(1, step - 2), step + 1), *([best] if best else [])})
    assert checkpoints.best() == (4, {"step": 4}) and checkpoints.load(11) == {"step": 11}
    with pytest.raises(SupernetError, match=r"no checkpoint of step 5 .* it has \[4, 10, 11, 12\]"):
        checkpoints.load(5)


def test_a_step_saved_twice(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for value in "abc":
        checkpoints.save(5, {"x": value})
        assert checkpoints.latest() == (5, {"x": value}) and checkpoints.load(5) == {"x": value}
    assert len(_names(tmp_path)) == 1
    best = checkpoints.save(5, {"x": "c"}, best=True)
    assert checkpoints.save(5, {"x": "c"}) == best, "the same content has the same name; the best stays the best"
    assert _names(tmp_path) == [best.name] and checkpoints.best() == (5, {"x": "c"})
    (best / "state.pt").write_bytes(b"")
    assert checkpoints.save(5, {"x": "c"}) == best and checkpoints.load(5) == {"x": "c"}
    assert _names(tmp_path) == [best.name, f"{best.name}.corrupt"]


def _break(path: Path, how: str) -> None:
    state = path / "state.pt"
    if how == "manifest":
        (path / "manifest.json").unlink()
    elif how == "garbled manifest":
        (path / "manifest.json").write_text("[1, 2")
    elif how == "short":
        state.write_bytes(state.read_bytes()[:-100])
    elif how == "absent":
        state.unlink()
    else:
        state.write_bytes(b"\x80" + bytes(state.stat().st_size - 1))


@pytest.mark.parametrize("how", ["manifest", "garbled manifest", "short", "absent", "zeros"])
def test_a_bad_one_is_passed_over(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step})
    bad = _path(tmp_path, 3)
    _break(bad, how)
    with caplog.at_level(logging.WARNING):
        assert checkpoints.latest() == (2, {"step": 2})
    assert bad.name in caplog.text
    assert checkpoints.steps == [2] and (tmp_path / f"{bad.name}.corrupt").is_dir()
    _break(_path(tmp_path, 2), how)
    with pytest.raises(SupernetError, match="none of the 1 checkpoints"):
        checkpoints.latest()
    assert checkpoints.steps == [2], "bad files stay for whoever wants to look"


def test_bad_ones_do_not_push_out_good_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (10, 20, 30):
        checkpoints.save(step, {"step": step})
    for step in (20, 30):
        _break(_path(tmp_path, step), "zeros")
    good = Checkpoints(tmp_path / "other").save(5, {"step": 5})
    good.rename(tmp_path / good.name)
    good.parent.rmdir()
    for step in range(6, 36):  # as a resume from step 5 would save them
        checkpoints.save(step, {"step": step})
        assert all(checkpoints.load(good) == {"step": good} for good in (step - 1, step) if good not in (5, 19))
        assert step < 30 or checkpoints.latest() == (step, {"step": step})
    assert checkpoints.steps == [34, 35]


def test_a_full_disk_leaves_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": 1})

    def full(_state: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(2, {"x": 2})
    assert _names(tmp_path) == [_path(tmp_path, 1).name] and checkpoints.latest() == (1, {"x": 1})


class _Foreign:
    pass


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": {"b": [0, _Foreign()]}}, r"state\['a'\]\['b'\]\[1\] is a _Foreign"),
        ({"a": np.float64(1)}, r"state\['a'\] is a float64"),
        ({"a": np.ones(2)}, r"state\['a'\] is a ndarray"),
        ({"a": {1.5: 0}}, r"state\['a'\] has the key 1.5"),
        ({"a": torch.ones(2, device="meta")}, "meta"),
        ({"a": b""}, "bytes"),
        ({"a": 1 << 5000}, "1024 bits"),
        ({"a": {1, 2}}, "set"),
    ],
)
def test_foreign_objects_are_named(tmp_path: Path, state: Any, place: str) -> None:
    with pytest.raises(SupernetError, match=place):
        Checkpoints(tmp_path / "c").save(1, state)
    assert not (tmp_path / "c").exists()


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 1000), 1 << 1000), st.floats(allow_nan=False), st.text(),
    st.sampled_from([torch.float64, torch.bfloat16, torch.int64, torch.bool]).map(lambda t: torch.ones(2, dtype=t)),
)  # fmt: skip
STATES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(_equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(_equal, a, b))
    return type(a) is type(b) and bool(a == b)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(state=STATES)
def test_what_is_allowed_loads_again(tmp_path_factory: pytest.TempPathFactory, state: Any) -> None:
    check_plain(state)
    checkpoints = Checkpoints(tmp_path_factory.mktemp("c"))
    checkpoints.save(1, {"state": state})
    assert _equal(checkpoints.load(1)["state"], state)


def _train(steps: int, model: torch.nn.Module, opt: torch.optim.Optimizer) -> None:
    for _ in range(steps):
        noise = torch.rand(4, 3) + random.random() + torch.from_numpy(np.random.rand(4, 3)).float()
        opt.zero_grad()
        model(noise).square().mean().backward()
        opt.step()


def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        model = torch.nn.Linear(3, 2)
        return model, torch.optim.Adam(model.parameters(), betas=(0.5, 0.999))

    whole, opt = fresh()
    _train(9, whole, opt)
    model, opt = fresh()
    _train(4, model, opt)
    Checkpoints(tmp_path).save(4, {"model": model.state_dict(), "opt": opt.state_dict(), "rng": rng_state()})
    other, opt = fresh()
    found = Checkpoints(tmp_path).latest()
    assert found is not None
    other.load_state_dict(found[1]["model"])
    opt.load_state_dict(found[1]["opt"])
    set_rng_state(found[1]["rng"])
    _train(5, other, opt)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), other.parameters(), strict=True))


def test_random_state_round_trip(tmp_path: Path) -> None:
    def draw() -> list[float]:
        device = [torch.rand(1, device="cuda").item()] if torch.cuda.is_available() else []
        own = [random.gauss(0, 1), random.random(), np.random.randn(), np.random.rand(), torch.randn(1).item()]
        return own + device

    draw()  # leaves the second half of a pair of Gaussians waiting in `random` and in numpy
    Checkpoints(tmp_path).save(1, rng_state())
    expected = [draw() for _ in range(5)]
    set_rng_state(Checkpoints(tmp_path).load(1))
    assert [draw() for _ in range(5)] == expected
