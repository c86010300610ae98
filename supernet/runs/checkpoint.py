"""Checkpoints that are whole or absent, and proven by digests.

One checkpoint is one folder `step-00000123-89abcdef/`: `state.pt` (tensors and plain containers, read with
`weights_only` alone) and `manifest.json` (see `manifest.py`). It is written as `.tmp-<pid>-...`, flushed, read back and
compared, renamed, the folder above flushed, and only then are older ones removed: at any instant there is a newest
good one. One that no longer holds what was written is set aside as `*.corrupt` and never removed.
"""

import logging
import os
import platform
import shutil
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import torch

from .. import files
from ..errors import SupernetError
from ..version import __version__
from . import manifest
from .manifest import Damaged
from .state import State, check_plain, snapshot
from .writer import DigestingFile, Writer

__all__ = ["POINTS", "Checkpoints"]

STATE = "state.pt"
# The moments of a save at which its protocol can be cut off, in their order.
POINTS = ("before write", "mid-write", "after fsync", "before replace", "after replace", "during purge")
_log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run: the last `keep` and the best stay, older ones go."""

    def __init__(
        self,
        folder: str | os.PathLike[str],
        keep: int = 2,
        *,
        config: str | None = None,
        data: str | None = None,
        at: Callable[[str], None] = lambda point: None,
    ) -> None:
        """`config` is the hash of the run's configuration: it is noted down, and a checkpoint with another is refused.

        `data` is the digest of its data, for which the same holds: of one configuration there may be runs on several.
        `at` is called with each of POINTS as a save reaches it, from whichever thread writes. Raises SupernetError
        where the folder is a link or has one in it: nothing is read, written or removed elsewhere.
        """
        files.refuse_links(folder, itself=True)
        if keep < 2:
            raise SupernetError(f"keep={keep} must be 2 or more: one may turn out damaged")
        self.folder = Path(folder)
        self.keep = keep
        self.config, self.data = config, data
        self._at = at
        self._writer = Writer()
        self._unsaved: tuple[int, OSError] | None = None  # the step that the disk had no room for

    @property
    def steps(self) -> list[int]:
        """Steps that are on disk, ascending."""
        self._writer.settle()
        return sorted({step for step, _ in self._found()})

    def save(self, step: int, state: Mapping[str, object], best: bool = False) -> Path:
        """Writes `state` as the checkpoint of `step` and removes what is no longer kept; the folder's path.

        A step that is saved again replaces the earlier one and stays the best if it was that.
        Raises SupernetError, before anything is written, where the state holds an object that could not be read
        back; OSError (disk full) leaves all earlier checkpoints as they were.
        """
        check_plain(state)
        self._writer.wait()
        path = self._write(step, dict(state), best)
        self._unsaved = None
        return path

    def save_later(self, step: int, state: Mapping[str, object], best: bool = False) -> None:
        """`save` in the background: returns once the state is copied, so that training may change it and go on.

        A save that is still in flight is waited for, and an error of it is raised here. A full disk is no error yet:
        one warning is logged, earlier checkpoints stay, and `wait` raises where no later save made up for it.
        """
        check_plain(state)
        self._writer.wait()  # before the copy is made: two at once would take twice the memory
        self._writer.start(partial(self._write_or_warn, step, snapshot(dict(state)), best))

    def wait(self) -> None:
        """Until all is on disk. Raises, once, what kept the newest state from it: OSError where the disk is full."""
        self._writer.wait()
        unsaved, self._unsaved = self._unsaved, None
        if unsaved is not None:
            step, error = unsaved
            steps = self.steps
            left = f"the newest one is of step {steps[-1]}" if steps else "there is none"
            reason = f"{error.strerror}: the checkpoint of step {step} could not be saved, {left}"
            raise OSError(error.errno, reason, str(self.folder))

    def close(self) -> None:
        """`wait` for the way out of an exception, which it must not hide: an error is logged."""
        try:
            self.wait()
        except Exception as error:
            _log.warning("the last checkpoint was not saved: %s", error)

    def latest(self) -> tuple[int, State] | None:
        """Step and state of the newest checkpoint that verifies, on the CPU; None where there is none at all.

        Newer damaged ones are set aside, with a warning of the logger that names the file and the reason. Raises
        SupernetError where all are damaged, and leaves them as they are: starting anew in silence would throw the run
        away. Raises it too for a checkpoint of another configuration or of another version's layout.
        """
        self._writer.settle()
        if not self.folder.is_dir():
            return None
        files.sweep(self.folder)
        damaged: list[tuple[Path, Damaged]] = []
        for step, path in self._found():
            try:
                state = self._read(path)
            except Damaged as error:
                damaged.append((path, error))
                continue
            for bad, reason in damaged:
                _set_aside(bad, reason)
            return step, state
        if damaged:
            raise SupernetError(
                f"none of the {len(damaged)} checkpoints in {self.folder} is as it was written: {damaged[0][1]}; "
                "run.fresh=true starts anew and moves them aside"
            )
        return None

    def best(self) -> tuple[int, State] | None:
        """Step and state of the newest checkpoint that was saved as the best; None where none was.

        Raises SupernetError where it is damaged, or may have been among damaged ones.
        """
        self._writer.settle()
        path, damaged = self._flagged()
        if path is not None:
            return _step(path), self._read(path)
        if damaged or (self.folder.is_dir() and any(self.folder.glob("*.corrupt*"))):
            reason = next(iter(damaged.values()), "the damaged ones were set aside as *.corrupt")
            raise SupernetError(f"{self.folder} has no good checkpoint of the best epoch: {reason}")
        return None

    def load(self, step: int) -> State:
        """The state saved at `step`, on the CPU; SupernetError where it is absent or damaged."""
        self._writer.settle()
        for number, path in self._found():
            if number == step:
                return self._read(path)
        raise SupernetError(f"no checkpoint of step {step} in {self.folder}; it has {self.steps or 'none'}")

    def _found(self) -> list[tuple[int, Path]]:
        """(step, path), newest first. Two of one step are left where a kill came before the older one's removal."""
        if not self.folder.is_dir():
            return []
        names = [(manifest.parse_name(path.name), path) for path in self.folder.iterdir() if path.is_dir()]
        return sorted(((name[0], path) for name, path in names if name), reverse=True)

    def _flagged(self) -> tuple[Path | None, dict[Path, Damaged]]:
        """The newest that was saved as the best, and those whose manifest is damaged, so that nobody knows."""
        newest, damaged = None, {}
        for _, path in self._found():
            try:
                if manifest.read(path)["best"] and newest is None:
                    newest = path
            except Damaged as error:
                damaged[path] = error
        return newest, damaged

    def _read(self, path: Path) -> State:
        sealed = manifest.verify(path)
        if None not in (self.config, sealed["config"]) and self.config != sealed["config"]:
            raise SupernetError(f"{path} is of the configuration {sealed['config']}, this run has {self.config}")
        if None not in (self.data, noted := sealed.get("data")) and self.data != noted:
            raise SupernetError(
                f"{path} is of a run on other data (their record is {noted}, that of this run is {self.data}): another "
                "run of these settings has written it; put its own checkpoints back, or run.fresh=true starts anew"
            )
        try:
            _check_unpacked(path / STATE)
            state = torch.load(path / STATE, map_location="cpu", weights_only=True)
        except SupernetError:
            raise
        except Exception as error:  # whole, and yet not for this torch: setting it aside as damaged would be wrong
            versions = f"written with torch {sealed['versions']['torch']}, this is {torch.__version__}"
            raise SupernetError(
                f"{path / STATE} cannot be loaded ({str(error).partition(chr(10))[0]}); {versions}"
            ) from None
        if not isinstance(state, dict):
            raise SupernetError(f"{path / STATE} holds a {type(state).__name__}, and no state of a run")
        return state

    def _write_or_warn(self, step: int, state: State, best: bool) -> None:
        try:
            self._write(step, state, best)
        except OSError as error:
            if files.disk_full(error) is None:
                raise
            if self._unsaved is None:  # else it was said already
                _log.warning("%s: the checkpoint of step %d was not saved; the earlier ones stay good and the run goes "
                             "on, next try at the next save", error.strerror, step)  # fmt: skip
            self._unsaved = step, error
        else:
            self._unsaved = None

    def _write(self, step: int, state: State, best: bool) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        flagged, _ = self._flagged()
        best = best or (flagged is not None and _step(flagged) == step)
        aside = files.tmp_path(self.folder / f"step-{step:08d}")
        shutil.rmtree(aside, ignore_errors=True)
        try:
            self._at("before write")
            aside.mkdir()
            digest = self._fill(aside, step, state, best)
            manifest.verify(aside, digest)  # what was meant, read back: only then may it stand for the older ones
            self._at("before replace")
            target = self.folder / manifest.folder_name(step, digest)
            _take_place(aside, target)
        except BaseException as error:
            shutil.rmtree(aside, ignore_errors=True)
            if full := files.disk_full(error):
                raise OSError(full.errno, full.strerror, str(self.folder)) from None
            raise
        self._at("after replace")
        files.sync_folder(self.folder)
        self._purge(step, target)
        return target

    def _fill(self, aside: Path, step: int, state: State, best: bool) -> str:
        """Writes and flushes the state and its manifest; the manifest's digest."""
        with open(aside / STATE, "wb") as raw:
            file = DigestingFile(raw, partial(self._at, "mid-write"))
            torch.save(state, cast(BinaryIO, file))
            raw.flush()
            os.fsync(raw.fileno())
            if hasattr(os, "posix_fadvise"):  # so that reading back asks the disk, not the memory in front of it
                os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        self._at("after fsync")
        versions = {"supernet": __version__, "torch": str(torch.__version__), "python": platform.python_version()}
        facts: dict[str, object] = {"step": step, "best": best, "config": self.config, "versions": versions}
        if self.data is not None:
            facts["data"] = self.data
        digest = manifest.seal(aside, {STATE: (file.size, file.sha256)}, **facts)
        files.sync_folder(aside)
        return digest

    def _purge(self, step: int, newest: Path) -> None:
        """Removes all but the last `keep` up to `step`, and the best; damaged ones are set aside.

        Later steps are what a resume passed over as damaged: counted among the last, they would push out the good one
        that was just written. They go when their step is reached again.
        """
        flagged, damaged = self._flagged()
        last: dict[int, Path] = {step: newest}
        for at, path in self._found():
            if at <= step:
                last.setdefault(at, path)
        stay = {newest, flagged, *(last[at] for at in sorted(last, reverse=True)[: self.keep])}
        for at, path in self._found():
            if at > step or path in stay:
                continue
            if path in damaged:
                _set_aside(path, damaged[path])
                continue
            try:
                gone = _hidden(path)
                self._at("during purge")
                shutil.rmtree(gone)
            except OSError as error:  # a folder that cannot be removed costs room; it must not end the run
                _log.warning("could not remove the old checkpoint %s: %s", path, error)


def _check_unpacked(path: Path) -> None:
    """Raises SupernetError where reading would take more memory than the file has bytes: torch packs nothing."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise SupernetError(f"{path} unpacks to {unpacked:,} bytes, more than it has; torch does not write such files")


def _take_place(aside: Path, target: Path) -> None:
    """Gives `aside` its name. Where that is taken, the content is the same, or was before it was damaged."""
    try:
        manifest.verify(target)
    except Damaged as error:
        if target.exists():
            _set_aside(target, error)
        aside.rename(target)
    else:
        shutil.rmtree(aside)


def _set_aside(path: Path, reason: Damaged) -> None:
    target, number = path.with_name(f"{path.name}.corrupt"), 0
    while os.path.lexists(target):
        number += 1
        target = path.with_name(f"{path.name}.corrupt-{number}")
    try:
        path.rename(target)
    except OSError as error:
        _log.warning("damaged checkpoint passed over: %s; it stays where it is (%s)", reason, error.strerror)
    else:
        _log.warning("damaged checkpoint set aside as %s: %s", target.name, reason)


def _hidden(path: Path) -> Path:
    """`path` under a name that no reader takes for a checkpoint, so that a half-removed one is never seen."""
    gone = files.tmp_path(path)
    path.rename(gone)
    return gone


def _step(path: Path) -> int:
    parsed = manifest.parse_name(path.name)
    assert parsed is not None
    return parsed[0]
