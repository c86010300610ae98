"""What the files of a checkpoint should hold: a manifest with the size and SHA-256 of each, itself sealed by a digest.

Neither torch.save nor safetensors notices a flipped bit in a tensor, so every file has its digest in `manifest.json`,
and the manifest has the first 8 hex digits of its own in the folder's name: `step-00000123-89abcdef`. A damaged, lost
or swapped file, manifest or folder name then disagrees with something.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import NotRequired, TypedDict, cast

from ..errors import SupernetError
from ..files import MOST_RECORD, open_plain, read_bytes
from .shapes import Shape, require_shape

__all__ = ["FILE", "SCHEMA", "Damaged", "folder_name", "parse_name", "read", "seal", "verify"]

FILE = "manifest.json"
SCHEMA = 2  # 1 had sizes only, and no digest in the folder's name
_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
SHAPE: Shape = {"step": int, "best": bool, "config": (str, NoneType), "data?": str, "versions": dict, "files": dict}
_NAME = re.compile(r"step-(\d{8,})(?:-([0-9a-f]{8}))?")


class Entry(TypedDict):
    """A file of a checkpoint."""

    bytes: int
    sha256: str


class Manifest(TypedDict):
    """What a checkpoint is, and the files it has."""

    schema: int
    step: int
    best: bool
    config: str | None
    data: NotRequired[str]  # the digest of what the run has noted of its data
    versions: dict[str, str]
    files: dict[str, Entry]


class Damaged(SupernetError):
    """A checkpoint does not hold what was written; the message names the file and what is wrong with it."""


def folder_name(step: int, digest: str) -> str:
    """`step-00000123-89abcdef`; `digest` is what `seal` gave."""
    return f"step-{step:08d}-{digest}"


def parse_name(name: str) -> tuple[int, str | None] | None:
    """(step, digest) from the name of a checkpoint's folder; the digest is None in the first layout's names."""
    match = _NAME.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def seal(folder: Path, files: Mapping[str, tuple[int, str]], **facts: object) -> str:
    """Writes and flushes the manifest of `files` (name -> bytes, SHA-256) with `facts`; the manifest's own digest."""
    entries = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
    manifest = {"schema": SCHEMA, **facts, "files": entries}
    data = (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode()
    with open(folder / FILE, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return _short(data)


def read(folder: Path, digest: str | None = None) -> Manifest:
    """The manifest of a checkpoint, after comparing it with `digest` or, without one, with the folder's name.

    Raises Damaged where they differ, SupernetError for a whole manifest in the layout of another version.
    """
    path = folder / FILE
    step = None
    if digest is None:
        step, digest = parse_name(folder.name) or (None, None)
    if digest is None:
        raise Damaged(f"{folder} has no digest in its name, so nothing vouches for it")
    try:
        data = read_bytes(path, MOST_RECORD, links=False)
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None
    if _short(data) != digest:
        raise Damaged(f"{path} has the digest {_short(data)}, its folder's name says {digest}")
    manifest = _manifest(data, path)
    if manifest["schema"] != SCHEMA:
        raise SupernetError(f"{folder} has the layout {manifest['schema']}; this version reads {SCHEMA}")
    if step not in (None, manifest["step"]):
        raise Damaged(f"{folder} holds step {manifest['step']}, its name says {step}")
    return manifest


def verify(folder: Path, digest: str | None = None) -> Manifest:
    """The manifest, once every file has the size and the SHA-256 that it names; raises as `read` does."""
    manifest = read(folder, digest)
    for name, entry in manifest["files"].items():
        path = folder / name
        if not _FILE_NAME.fullmatch(name):
            raise Damaged(f"{folder / FILE} names the file {name[:80]!r}, which lies elsewhere")
        try:
            with open(open_plain(path, links=False), "rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest_now = hashlib.file_digest(file, "sha256").hexdigest() if size == entry["bytes"] else ""
        except OSError as error:
            raise Damaged(f"{path} cannot be read ({error.strerror})") from None
        if size != entry["bytes"]:
            raise Damaged(f"{path} has {size} bytes, its manifest says {entry['bytes']}")
        if digest_now != entry["sha256"]:
            raise Damaged(f"{path} has changed since it was written: its SHA-256 is not the manifest's")
    return manifest


def _manifest(data: bytes, path: Path) -> Manifest:
    """What `seal` wrote. The digest says that the bytes are whole, and not by whom they were written."""
    try:
        value = json.loads(data)
        require_shape(value if isinstance(value, dict) else {}, {"schema": int}, path)
        if value["schema"] == SCHEMA:
            require_shape(value, SHAPE, path)
            require_shape(value["versions"], {"torch": str}, path)
            for entry in value["files"].values():
                require_shape(entry if isinstance(entry, dict) else {}, {"bytes": int, "sha256": str}, path)
    except (ValueError, RecursionError) as error:
        raise Damaged(str(error) if isinstance(error, SupernetError) else f"{path} is damaged ({error})") from None
    return cast(Manifest, value)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:8]
