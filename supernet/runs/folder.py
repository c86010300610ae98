"""A run is a folder, and its name is its identity: the same command finds it again and goes on."""

import contextlib
import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from .. import files
from ..config import MAY_CHANGE
from ..errors import SupernetError, unknown
from ..files import JSON
from ..version import versions
from .identity import RunSettings, differences, editions_of, identity
from .lock import HELD as LOCK_HELD
from .lock import NAME as LOCK
from .lock import RunLock
from .names import run_path
from .shapes import CONFIG, RESULT, Shape, require_shape
from .text_log import TextLog

__all__ = ["RunFolder", "as_begun", "is_begun"]

log = logging.getLogger(__name__)

SCHEMA = 1

S = TypeVar("S", bound=RunSettings)


class RunFolder:
    """One run on disk: config, versions, metrics, checkpoints, genotype and result, each a whole file or absent."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens what is there, as it is; `RunFolder.open` is the way to start or resume a run."""
        self.path = Path(path)
        self.new = False  # whether `open` has made it
        self.texts: TextLog | None = None  # run.log, while a stage works here
        self._new_root = False
        self._lock = RunLock(self.path)

    @classmethod
    def existing(cls, reference: str | os.PathLike[str]) -> "RunFolder":
        """The run folder that is there; raises SupernetError, with the nearest name beside it, where it is none."""
        run = cls(Path(reference).expanduser())
        if not run._config_path.is_file():
            parent = run.path.parent
            beside = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
            raise SupernetError(unknown(f"run folder in {parent}:", run.path.name, beside, most=6))
        files.refuse_links(run.path)
        return run

    @classmethod
    def open(
        cls, config: RunSettings, stage: str, label: str | None = None, *, prefix: str = "", lock: bool = False
    ) -> "RunFolder":
        """Creates the folder of this configuration, or finds it again.

        It is `<run.root>/<run.name>`, without a name `<run.root>/<prefix>-<8 hex>`, where the stage stands for an empty
        prefix. With `run.fresh` an existing one is moved to `<name>.old-<N>`.
        With `lock` no other process can work on it until `close`, or the end of a `with` block; a finished run needs
        none. Raises SupernetError where the folder holds another run, or where another process works on it.
        """
        own, digest = identity(config, stage, label)
        run = cls(run_path(config, prefix or stage, digest))
        try:
            if config.run.fresh:
                run._move_aside()
            files.refuse_links(run.path)
            run._make(lock)
            files.sync_folder(run.path.parent)
            files.sweep(run.path)
            if not run._config_path.exists():
                run.new = True
                everything = {"schema": SCHEMA, "stage": stage, "hash": digest, "identity": own}
                files.write_json(run._config_path, everything | {"config": dataclasses.asdict(config)})
            elif changes := run._changes(config, own, digest):
                if lock:
                    run._lock.acquire()
                run._adopt(config, own, digest, changes)
            run._write_versions()
        except OSError as error:
            run.close()
            raise SupernetError(
                f"cannot use the run folder {run.path}: {error.strerror or error}; choose another run.root or run.name"
            ) from None
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def find_finished(
        cls, config: RunSettings, stage: str, label: str | None = None, *, prefix: str = ""
    ) -> "RunFolder | None":
        """The run of this configuration if it has ended; None where it must run. Writes nothing, needs no torch.

        Raises SupernetError where the folder holds another run.
        """
        config = as_begun(config, stage, label, prefix=prefix)
        own, digest = identity(config, stage, label)
        run = cls(run_path(config, prefix or stage, digest))
        if config.run.fresh or not run.finished or not run._config_path.exists():
            return None
        return None if run._changes(config, own, digest) else run

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def genotype_path(self) -> Path:
        return self.path / "genotype.json"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`: schema, stage, the hash that the run began with, identity, config, and allowed `changes`."""
        stored = _read_json(self._config_path)
        require_shape(stored, CONFIG, self._config_path)
        return stored

    @property
    def hash(self) -> str:
        """The digest of the identity that the run began with, which its checkpoints carry."""
        stored = self.config
        require_shape(stored, {"hash": str}, self._config_path)
        return str(stored["hash"])

    @property
    def finished(self) -> bool:
        return self.result_path.exists()

    @property
    def result(self) -> dict[str, Any]:
        return _read_json(self.result_path)

    def trained(self, shape: Shape = RESULT) -> dict[str, Any]:
        """`result` of a stage that trains; raises SupernetError where it has not the `shape` of one."""
        result = self.result
        require_shape(result, shape, self.result_path)
        require_shape(result["metrics"], dict.fromkeys(result["metrics"], (int, float, str)), self.result_path)
        return result

    def record(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name` of the folder; SupernetError where it holds something else."""
        return _read_json(self.path / name)

    def finish(self, result: Mapping[str, object]) -> None:
        """Writes result.json; from then on the same command prints it and does no work."""
        files.write_json(self.result_path, result)

    def discard(self) -> None:
        """`close`; removes the folder too where `open` made it and nothing was trained in it."""
        trained = any(self.checkpoints.glob("step-*")) or any(self.path.glob("nan_report*"))
        log_file = self.path / "metrics.jsonl"
        if self.new and not trained and not (log_file.exists() and log_file.stat().st_size):
            shutil.rmtree(self.path, ignore_errors=True)  # while it is ours
            if self._new_root:
                with contextlib.suppress(OSError):  # another run is there
                    self.path.parent.rmdir()
        self.close()

    def begin_texts(self, first: str = "") -> bool:
        """From here on all that the package logs goes into run.log too, until `end_texts`; False where it does already.

        `first` is a line of what was logged before.
        """
        if self.texts is not None:
            return False
        self.texts = TextLog(self.path / "run.log")
        if first:
            self.texts.write(first)
        return True

    def end_texts(self) -> None:
        """Closes run.log, where it is open."""
        if self.texts is not None:
            self.texts.close()
            self.texts = None

    def close(self) -> None:
        """Lets other processes work on the run; nothing to do where `open` took no lock."""
        self.end_texts()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _config_path(self) -> Path:
        return self.path / "config.json"

    def _is_of(self, digest: str) -> bool:
        """Whether a run with this hash is here."""
        if not self._config_path.exists():
            return False
        return bool(self.config.get("now", self.hash) == digest)

    def _make(self, lock: bool) -> None:
        self._new_root = not self.path.parent.exists()
        for last in (False, True):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                if lock and not self.finished:
                    self._lock.acquire()
                return
            except FileNotFoundError:  # somebody's run.fresh has just moved it aside
                if last:
                    raise

    def _move_aside(self) -> None:
        if not self.path.exists() and not self.path.is_symlink():
            return
        if self.path.is_dir() and not self._is_run():
            raise SupernetError(
                f"{self.path} is no run folder, and run.fresh does not move it; choose another run.name"
            )
        if self.path.is_dir():  # not from under a process that works on it
            with self._lock:
                self._rename()
        else:
            self._rename()

    def _is_run(self) -> bool:
        """Whether the folder is one that `open` made, or may have begun to make when it was killed."""
        held = {entry.name for entry in self.path.iterdir() if not entry.name.startswith(".tmp-")}
        return "config.json" in held or held <= {LOCK, LOCK_HELD}

    def _rename(self) -> None:
        number = 1
        while os.path.lexists(old := self.path.with_name(f"{self.path.name}.old-{number}")):
            number += 1
        self.path.rename(old)

    def _changes(self, config: RunSettings, own: Mapping[str, JSON], digest: str) -> dict[str, str]:
        """What differs from the run that is there, where all of it is allowed; else SupernetError."""
        if self._is_of(digest):
            return {}
        changes = differences(self.config.get("identity", {}), own, config)
        if changes and changes.keys() <= set(config.run.allow_changes):
            return changes
        way_out = "run.fresh=true moves it aside, another run.name keeps both"
        if changes and changes.keys() <= set(MAY_CHANGE):
            way_out += f", run.allow_changes=[{','.join(changes)}] goes on with it"
        texts = [f"{key} {text}" for key, text in changes.items()]
        shown = ", ".join(texts[:8]) + (f", ... ({len(texts)} in all)" if len(texts) > 8 else "")
        raise SupernetError(f"the run folder {self.path} holds another run: {shown}; {way_out}")

    def _adopt(self, config: RunSettings, own: Mapping[str, JSON], digest: str, changes: Mapping[str, str]) -> None:
        """The run goes on with these settings; its checkpoints keep the hash that it began with."""
        if self.finished:
            self.result_path.rename(self.path / f"result.old-{len(list(self.path.glob('result.old-*'))) + 1}.json")
        stored = self.config
        history = [*stored.get("changes", []), changes]
        new = {"identity": own, "config": dataclasses.asdict(config), "now": digest, "changes": history}
        files.write_json(self._config_path, stored | new)

    def _write_versions(self) -> None:
        """The versions that began the run, and below `resumed` each other set that went on with it."""
        path, now = self.path / "version.json", dict(versions())
        if not path.exists():
            files.write_json(path, now | {"resumed": []})
            return
        stored = _read_json(path)
        resumed = stored.pop("resumed", [])
        require_shape({"resumed": resumed}, {"resumed": list}, path)
        last = (resumed or [stored])[-1]
        before = last.get("threads") if isinstance(last, dict) else None
        if before not in (None, now["threads"]) and not self.finished:
            log.warning("%s was run with %s threads and goes on with %d: on a processor the last bits of numbers "
                        "change; OMP_NUM_THREADS=%s keeps them", self.path, before, now["threads"], before)  # fmt: skip
        if last != files.plain(now):
            files.write_json(path, stored | {"resumed": [*resumed, now]})


def as_begun(config: S, stage: str, label: str | None = None, *, prefix: str = "") -> S:
    """`config`, or the earlier defaults of the same command where there is a run that was begun with those.

    A run of the present defaults comes first; with `run.fresh` nothing is looked for. Writes nothing, needs no torch.
    """
    for candidate in editions_of(config) if not config.run.fresh else ():
        own, digest = identity(candidate, stage, label)
        run = RunFolder(run_path(candidate, prefix or stage, digest))
        if not run._is_of(digest):
            continue
        if candidate is not config:
            now = identity(config, stage, label)[0]
            texts = [f"{key} {text}" for key, text in differences(now, own, config).items()]
            log.info("%s was begun with other defaults and keeps them: %s", run.path, ", ".join(texts))
        return candidate
    return config


def is_begun(config: RunSettings, stage: str, label: str | None = None, *, prefix: str = "") -> bool:
    """Whether there is a run of these settings, or of the earlier defaults of the same command; no torch."""
    if config.run.fresh:
        return False
    for candidate in editions_of(config):
        digest = identity(candidate, stage, label)[1]
        if RunFolder(run_path(candidate, prefix or stage, digest))._is_of(digest):
            return True
    return False


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(files.read_text(path, files.MOST_RECORD, links=False))
    except SupernetError:
        raise
    except (ValueError, RecursionError) as error:
        raise SupernetError(f"{path} is damaged ({error}); run.fresh=true moves the run aside") from None
    if not isinstance(value, dict):
        raise SupernetError(f"{path} is damaged (no JSON object); run.fresh=true moves the run aside")
    return value
