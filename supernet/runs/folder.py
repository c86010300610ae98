"""A run is a folder, and its name is its identity: the same command finds it again and goes on.

The identity is what changes the numbers: the configuration without paths (`data.root`, `data.download`,
`data.workers`, the path of the genotype), without how it is run (`device`, `capture`, `data.resident`), and without
`run`, `checkpoint`, `log` and `guard`, in one canonical JSON text and its SHA-256. Data with a registered name are
identified by that name, wherever they lie. Data that only a path names (an image folder) are identified by the last
component of the path: two copies of one folder are the same run, two different folders should not share their last
name.
"""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Self

from .. import files
from ..config import MAY_CHANGE
from ..errors import SupernetError, unknown
from ..version import versions
from .lock import RunLock

__all__ = ["RunFolder", "data_label", "identity"]

SCHEMA = 1
NOT_IDENTITY = ("device", "capture", "run", "checkpoint", "log", "guard")
NOT_IDENTITY_OF_DATA = ("root", "download", "workers", "resident")
BY_ROOT = ("folder", "image_folder", "imagefolder")  # names of data that say nothing without their root


def identity(config: Any, stage: str, label: str | None = None) -> tuple[dict[str, Any], str]:
    """What makes two runs the same: the settings that change numbers, and 8 hex digits of their SHA-256.

    `label` stands for what is trained where the configuration names it by a path, or not at all: the hash or the
    published name of a genotype (needed where the configuration has a field `genotype`), a user's own space. Raises
    SupernetError for values that JSON does not know.
    """
    values = {"stage": stage, **dataclasses.asdict(config)}
    for key in NOT_IDENTITY:
        values.pop(key, None)
    if "genotype" in values:
        if not label:
            raise SupernetError(f"a run of stage {stage} needs the label of its genotype: its hash or published name")
        del values["genotype"]
    values.pop("allow", None)
    if "space" in values:  # a file is known by its content, which is in the label
        named = {key: value for key, value in values["space"].items() if key not in ("file", "allow")}
        values["space"] = {} if values["space"].get("file") else named
    if label:
        values["label"] = label
    if "data" in values:
        kept = {key: value for key, value in values["data"].items() if key not in NOT_IDENTITY_OF_DATA}
        values["data"] = kept | {"name": data_label(config.data)}
    canonical = _canonical(values, "")
    text = json.dumps(canonical, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return canonical, hashlib.sha256(text.encode()).hexdigest()[:8]


def data_label(data: Any) -> str:
    """The name of a data set without where it lies: `digits`, `torch/cifar10`, `folder:flowers` for `/data/flowers`."""
    name = str(data.name)
    if name in BY_ROOT and data.root:
        return f"folder:{_last_name(data.root)}"
    if name == "text" and data.root:  # without a root it is the embedded text
        return f"text:{_last_name(data.root)}"
    if os.path.isabs(name) or name.startswith((".", "~")):
        return f"folder:{_last_name(name)}"
    return name


class RunFolder:
    """One run on disk: config, versions, metrics, checkpoints, genotype and result, each a whole file or absent."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens what is there, as it is; `RunFolder.open` is the way to start or resume a run."""
        self.path = Path(path)
        self._lock = RunLock(self.path)

    @classmethod
    def existing(cls, reference: str | os.PathLike[str]) -> "RunFolder":
        """The run folder that is there; raises SupernetError, with the nearest name beside it, where it is none."""
        run = cls(Path(reference).expanduser())
        if not (run.path / "config.json").is_file():
            parent = run.path.parent
            beside = [path.name for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
            raise SupernetError(unknown(f"run folder in {parent}:", run.path.name, beside, most=6))
        return run

    @classmethod
    def open(
        cls, config: Any, stage: str, label: str | None = None, *, prefix: str = "", lock: bool = False
    ) -> "RunFolder":
        """Creates the folder of this configuration, or finds it again.

        It is `<run.root>/<run.name>`, without a name `<run.root>/<prefix>-<8 hex>`, where the stage stands for an empty
        prefix. With `run.fresh` an existing one is moved to `<name>.old-<N>`. With `lock` no other
        process can work on it until `close`, or the end of a `with` block; a finished run needs none. Raises
        SupernetError where the folder holds another run, or where another process works on it.
        """
        wanted, digest = identity(config, stage, label)
        run = cls(_place(config, prefix or stage, digest))
        try:
            if config.run.fresh:
                run._move_aside()
            run._make(lock)
            files.sync_folder(run.path.parent)
            files.sweep(run.path)
            if not (run.path / "config.json").exists():
                everything = {"schema": SCHEMA, "stage": stage, "hash": digest, "identity": wanted}
                files.write_json(run.path / "config.json", everything | {"config": dataclasses.asdict(config)})
            elif changes := run._changes(config, wanted, digest):
                if lock:
                    run._lock.acquire()
                run._adopt(config, wanted, digest, changes)
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
        cls, config: Any, stage: str, label: str | None = None, *, prefix: str = ""
    ) -> "RunFolder | None":
        """The run of this configuration if it has ended; None where it must run. Writes nothing, needs no torch.

        Raises SupernetError where the folder holds another run.
        """
        wanted, digest = identity(config, stage, label)
        run = cls(_place(config, prefix or stage, digest))
        if config.run.fresh or not run.finished or not (run.path / "config.json").exists():
            return None
        return None if run._changes(config, wanted, digest) else run

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
        return _read_json(self.path / "config.json")

    @property
    def finished(self) -> bool:
        return self.result_path.exists()

    @property
    def result(self) -> dict[str, Any]:
        return _read_json(self.result_path)

    def finish(self, result: dict[str, Any]) -> None:
        """Writes result.json; from then on the same command prints it and does no work."""
        files.write_json(self.result_path, result)

    def close(self) -> None:
        """Lets other processes work on the run; nothing to do where `open` took no lock."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _make(self, lock: bool) -> None:
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
        if self.path.is_dir():  # not from under a process that works on it
            with self._lock:
                self._rename()
        else:
            self._rename()

    def _rename(self) -> None:
        number = 1
        while os.path.lexists(old := self.path.with_name(f"{self.path.name}.old-{number}")):
            number += 1
        self.path.rename(old)

    def _changes(self, config: Any, wanted: dict[str, Any], digest: str) -> dict[str, str]:
        """What differs from the run that is there, where all of it is allowed; else SupernetError."""
        stored = self.config
        if stored.get("now", stored.get("hash")) == digest:
            return {}
        changes = _changes(_flat(stored.get("identity", {})), _flat(wanted))
        if changes and changes.keys() <= set(config.run.allow_changes):
            return changes
        way_out = "run.fresh=true moves it aside, another run.name keeps both"
        if changes and changes.keys() <= set(MAY_CHANGE):
            way_out += f", run.allow_changes=[{','.join(changes)}] goes on with it"
        texts = [f"{key} {text}" for key, text in changes.items()]
        shown = ", ".join(texts[:8]) + (f", ... ({len(texts)} in all)" if len(texts) > 8 else "")
        raise SupernetError(f"the run folder {self.path} holds another run: {shown}; {way_out}")

    def _adopt(self, config: Any, wanted: dict[str, Any], digest: str, changes: dict[str, str]) -> None:
        """The run goes on with these settings; its checkpoints keep the hash that it began with."""
        if self.finished:
            self.result_path.rename(self.path / f"result.old-{len(list(self.path.glob('result.old-*'))) + 1}.json")
        stored = self.config
        history = [*stored.get("changes", []), changes]
        new = {"identity": wanted, "config": dataclasses.asdict(config), "now": digest, "changes": history}
        files.write_json(self.path / "config.json", stored | new)

    def _write_versions(self) -> None:
        """The versions that began the run, and below `resumed` each other set that went on with it."""
        path, now = self.path / "version.json", versions()
        if not path.exists():
            files.write_json(path, now | {"resumed": []})
            return
        stored = _read_json(path)
        resumed = stored.pop("resumed", [])
        if (resumed or [stored])[-1] != files.plain(now):
            files.write_json(path, stored | {"resumed": [*resumed, now]})


def _place(config: Any, prefix: str, digest: str) -> Path:
    return Path(config.run.root).expanduser() / (_given_name(config) or f"{prefix}-{digest}")


def _given_name(config: Any) -> str | None:
    name = config.run.name
    if name is not None and (not name or os.path.isabs(name) or ".." in Path(name).parts or not Path(name).parts):
        raise SupernetError(f"run.name={name!r} must be the name of a folder below run.root={config.run.root!r}")
    return name


def _last_name(path: str) -> str:
    return os.path.basename(os.path.abspath(os.path.expanduser(path)))


def _canonical(value: Any, where: str) -> Any:
    """1.0 and 1 are one value, a tuple is a list, keys are text: what is equal for the run has one JSON text."""
    if isinstance(value, dict):
        return {str(key): _canonical(item, f"{where}{key}.") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item, f"{where}{i}.") for i, item in enumerate(value)]
    if isinstance(value, float) and value - value == 0:  # finite
        return int(value) if value.is_integer() else value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise SupernetError(f"{where[:-1]}={value!r} must be a plain finite number, text, list or mapping")


def _flat(value: Any, where: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {where: value}
    return {k: v for key, item in value.items() for k, v in _flat(item, f"{where}.{key}" if where else key).items()}


def _changes(old: dict[str, Any], new: dict[str, Any]) -> dict[str, str]:
    """The settings that differ, each with a text such as `1 -> 2`."""
    absent = object()

    def show(value: Any) -> str:
        text = "(unset)" if value is absent else json.dumps(value)
        return text if len(text) <= 60 else text[:57] + "..."

    keys = [*new, *(key for key in old if key not in new)]
    pairs = [(key, old.get(key, absent), new.get(key, absent)) for key in keys]
    return {key: f"{show(was)} -> {show(now)}" for key, was, now in pairs if was != now or type(was) is not type(now)}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise SupernetError(f"{path} is damaged ({error}); run.fresh=true moves the run aside") from None
    if not isinstance(value, dict):
        raise SupernetError(f"{path} is damaged (no JSON object); run.fresh=true moves the run aside")
    return value
