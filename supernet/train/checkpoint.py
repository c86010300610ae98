"""Checkpoints that are whole or absent, and the state of every random generator.

One checkpoint is one folder `step-00000123/`: `state.pt` (tensors and plain containers, read with `weights_only`
alone) and `manifest.json` (schema, step, size of each file). It is written as `.tmp-<pid>-...`, flushed, renamed, and
only then are older ones removed; so at any instant there is a newest whole one. A step that is saved twice gets
`step-00000123.1`, because a folder cannot be replaced by a rename.
"""

import json
import logging
import os
import random
import re
import shutil
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from ..errors import SupernetError
from . import atomic

__all__ = ["Checkpoints", "check_plain", "rng_state", "set_rng_state"]

SCHEMA = 1
_NAME = re.compile(r"^step-(\d{8,})(?:\.(\d+))?$")
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run: the last `keep` and the best stay, older ones go."""

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2) -> None:
        if keep < 1:
            raise SupernetError(f"keep={keep} must be 1 or more")
        self.folder = Path(folder)
        self.keep = keep

    @property
    def steps(self) -> list[int]:
        """Steps that are on disk, ascending."""
        return sorted({step for step, _, _ in self._found()})

    def save(self, step: int, state: Mapping[str, Any], best: bool = False) -> Path:
        """Writes `state` as the checkpoint of `step` and removes what is no longer kept; the folder's path.

        Raises SupernetError, before anything is written, where the state holds an object that could not be read
        back; OSError (disk full) leaves all earlier checkpoints as they were.
        """
        check_plain(state)
        self.folder.mkdir(parents=True, exist_ok=True)
        again = [number for found, number, _ in self._found() if found == step]
        target = self.folder / (f"step-{step:08d}" + (f".{max(again) + 1}" if again else ""))
        aside = atomic.tmp_path(target)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            aside.mkdir()
            with open(aside / "state.pt", "wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            files = {"state.pt": {"bytes": (aside / "state.pt").stat().st_size}}
            manifest = {"schema": SCHEMA, "step": step, "best": best, "torch": str(torch.__version__), "files": files}
            atomic.write_json(aside / "manifest.json", manifest)
            aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        atomic.sync_folder(self.folder)
        self._purge(step, target)
        return target

    def latest(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint that reads, on the CPU; None where there is none at all.

        Bad ones are passed over with a warning of the logger. Raises SupernetError where all are bad: starting anew
        in silence would throw the run away.
        """
        if not self.folder.is_dir():
            return None
        atomic.sweep(self.folder)
        found = self._found()
        for step, _, path in found:
            try:
                return step, self._read(path, step)
            except SupernetError as error:
                _log.warning("passed over a checkpoint: %s", error)
        if found:
            raise SupernetError(f"none of the {len(found)} checkpoints in {self.folder} can be read; "
                                "run.fresh=true starts anew and moves them aside")  # fmt: skip
        return None

    def best(self) -> tuple[int, dict[str, Any]] | None:
        """Step and state of the newest checkpoint that was saved as the best; None where there is none."""
        path = self._best(self._found())
        return None if path is None else (_step(path), self._read(path, _step(path)))

    def load(self, step: int) -> dict[str, Any]:
        """The state saved at `step`, on the CPU; SupernetError where it is absent or bad."""
        for found, _, path in self._found():
            if found == step:
                return self._read(path, step)
        raise SupernetError(f"no checkpoint of step {step} in {self.folder}; it has {self.steps or 'none'}")

    def _found(self) -> list[tuple[int, int, Path]]:
        """(step, number of the repetition, path), newest first."""
        if not self.folder.is_dir():
            return []
        matches = [(_NAME.match(path.name), path) for path in self.folder.iterdir() if path.is_dir()]
        return sorted(((int(m[1]), int(m[2] or 0), path) for m, path in matches if m), reverse=True)

    def _read(self, path: Path, step: int) -> dict[str, Any]:
        manifest = _manifest(path)
        if manifest["step"] != step:
            raise SupernetError(f"{path} holds step {manifest['step']}, not {step}")
        for name, entry in manifest["files"].items():
            size = (path / name).stat().st_size if (path / name).is_file() else None
            if size != entry["bytes"]:
                raise SupernetError(f"{path / name} has {size} bytes, its manifest says {entry['bytes']}")
        try:
            return cast(dict[str, Any], torch.load(path / "state.pt", map_location="cpu", weights_only=True))
        except Exception as error:  # a damaged file raises anything, from KeyError to UnicodeDecodeError
            reason = str(error).partition("\n")[0]
            raise SupernetError(f"{path / 'state.pt'} cannot be read ({type(error).__name__}: {reason})") from None

    def _best(self, found: list[tuple[int, int, Path]]) -> Path | None:
        for _, _, path in found:
            try:
                if _manifest(path)["best"]:
                    return path
            except SupernetError as error:
                _log.warning("passed over a checkpoint: %s", error)
        return None

    def _purge(self, step: int, newest: Path) -> None:
        """Removes all but the last `keep` up to `step`, and the best.

        Later steps are what a resume passed over as bad: counted among the last, they would push out the good one
        that was just written. They go when their step is reached again.
        """
        found = self._found()
        kept = {newest, self._best(found)}
        last: dict[int, Path] = {}
        for at, _, path in found:
            if at <= step:
                last.setdefault(at, path)
        kept |= {last[at] for at in sorted(last, reverse=True)[: self.keep]}
        for at, _, path in found:
            if at > step or path in kept:
                continue
            gone = atomic.tmp_path(path)
            try:
                path.rename(gone)  # first out of sight, so that a half-removed folder never looks like a checkpoint
                shutil.rmtree(gone)
            except OSError as error:  # a folder that cannot be removed costs room; it must not end the run
                _log.warning("could not remove the old checkpoint %s: %s", path, error)


def check_plain(state: Any, where: str = "state") -> None:
    """Raises SupernetError that names the place of the first thing in `state` that would not load again.

    Plain are None, bool, int, float, str, dict, list, tuple and dense tensors that have data, by exact type:
    subclasses (enumerations, numpy numbers, named tuples) are saved without complaint and refused on load.
    """
    if isinstance(state, torch.Tensor):
        exact = type(state) in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
        good = exact and state.layout is torch.strided and state.device.type != "meta"
        kind = f"a {state.layout} {type(state).__name__} on {state.device}"
    elif type(state) in (dict, OrderedDict):
        for key, value in state.items():
            if type(key) not in (str, int):
                raise SupernetError(f"{where} has the key {key!r}: a checkpoint allows str and int keys")
            check_plain(value, f"{where}[{key!r}]")
        return
    elif type(state) in (list, tuple):
        for i, value in enumerate(state):
            check_plain(value, f"{where}[{i}]")
        return
    elif type(state) is int:
        good, kind = state.bit_length() <= 1024, "an int of over 1024 bits"
    else:
        good, kind = state is None or type(state) in (bool, float, str), f"a {type(state).__qualname__}"
    if not good:
        raise SupernetError(f"{where} is {kind}: a checkpoint holds plain values, containers and dense tensors only")


def rng_state() -> dict[str, Any]:
    """The state of python's `random`, numpy's global generator, torch's on the CPU and on every CUDA device in use."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [str(name), [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Puts `rng_state()` back, so that the next draws are the same to the last bit."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if state["cuda"] and devices != len(state["cuda"]):
        _log.warning("the checkpoint has the random state of %d CUDA devices, this machine has %d: "
                     "draws on a device will differ", len(state["cuda"]), devices)  # fmt: skip
    for i, one in enumerate(state["cuda"][:devices]):
        torch.cuda.set_rng_state(one.cpu(), i)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        schema, _ = manifest["schema"], (manifest["step"], manifest["best"], manifest["files"]["state.pt"]["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SupernetError(f"{path} has no readable manifest") from None
    if schema != SCHEMA:
        raise SupernetError(f"{path} has the layout {schema}; this version reads {SCHEMA}")
    return cast(dict[str, Any], manifest)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-").partition(".")[0])
