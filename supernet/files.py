"""Files that are whole or absent, whenever the process or the machine dies.

Written aside in the same folder, flushed, renamed over the target, then the folder itself flushed: without the last
step a power cut can undo the rename. What is written aside is called `.tmp-<pid>-...`; `sweep` removes the leavings of
dead processes.

Files and folders may come from others. `read_bytes` reads plain files of a bounded size only, so that neither a pipe
nor an endless device keeps a command waiting; `refuse_links` looks through a folder before anything in it is written
or removed, so that no link in it leads elsewhere.
"""

import errno
import json
import math
import os
import re
import shutil
import stat
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from .errors import SupernetError

__all__ = [
    "FULL", "JSON", "MOST_RECORD", "disk_full", "is_yaml", "open_own", "open_plain", "plain", "put_folder",
    "read_bytes", "read_text", "refuse_links", "slug", "sweep", "sync_folder", "tmp_path", "write_bytes", "write_json",
    "write_text",
]  # fmt: skip

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: on the disk, in the quota, for a file of that size
MOST_RECORD = 2**26  # bytes of a JSON file that a run or an export keeps of itself; they have some thousands
_TMP = re.compile(r"^\.tmp-(\d+)-")
_LATER = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # a pipe without a writer opens at once
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_KINDS = {
    stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device", stat.S_IFDIR: "a folder",
}  # fmt: skip


def read_bytes(path: str | os.PathLike[str], most: int, *, links: bool = True) -> bytes:
    """The content of a plain file of at most `most` bytes.

    Raises SupernetError for a larger file, for anything that is no plain file (a folder, a named pipe, a device), and
    with `links` False for a link; OSError where the file cannot be opened.
    """
    handle = open_plain(path, links=links)
    with open(handle, "rb") as file:
        size = os.fstat(handle).st_size
        content = file.read(most + 1) if size <= most else b""
    if max(size, len(content)) > most:
        raise SupernetError(f"{path} has {max(size, len(content)):,} bytes or more; at most {most:,} are read")
    return content


def read_text(path: str | os.PathLike[str], most: int, *, links: bool = True) -> str:
    """As `read_bytes`, in UTF-8; raises UnicodeDecodeError, a ValueError, where it is not."""
    return read_bytes(path, most, links=links).decode()


def open_plain(path: str | os.PathLike[str], flags: int = os.O_RDONLY, *, links: bool = True) -> int:
    """A descriptor of the plain file `path`; it opens at once, or not at all.

    Raises SupernetError for anything that is no plain file, and with `links` False for a link; OSError otherwise.
    """
    try:
        handle = os.open(path, flags | _LATER | (0 if links else _NO_LINK), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO) and os.path.lexists(path):  # a link, or a pipe or socket
            raise SupernetError(_not_plain(path, os.lstat(path).st_mode)) from None
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise SupernetError(_not_plain(path, mode))
    return handle


def open_own(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of the plain file `path`, which `flags` may create; nothing behind a link is ever opened.

    Raises SupernetError for a link, for anything that is no plain file, and for a file that has another name elsewhere.
    """
    handle = open_plain(path, flags, links=False)
    if os.fstat(handle).st_nlink > 1:
        os.close(handle)
        raise SupernetError(f"{path} is the same file as another one elsewhere (a hard link); remove it")
    return handle


def refuse_links(folder: str | os.PathLike[str], *, itself: bool = False) -> None:
    """Raises SupernetError unless all that lies below `folder`, at any depth, is a plain file or a folder.

    `folder` may be a link, since whoever names it means what is behind it; with `itself` it may not. Where it does not
    exist all is well.
    """
    if itself and os.path.islink(folder):
        raise SupernetError(_not_plain(folder, stat.S_IFLNK))
    below = [os.fspath(folder)]
    while below:
        try:
            entries = list(os.scandir(below.pop()))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif not entry.is_file(follow_symlinks=False):
                raise SupernetError(_not_plain(entry.path, entry.stat(follow_symlinks=False).st_mode))


def _not_plain(path: str | os.PathLike[str], mode: int) -> str:
    kind = _KINDS.get(stat.S_IFMT(mode), "no file")
    way_out = "put what it leads to in its place" if kind == "a link" else "a plain file is read here, nothing else"
    return f"{os.fspath(path)} is {kind}; {way_out}"


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Replaces `path` by `data` in one step; its folder must exist. Raises OSError and leaves `path` as it was."""
    target = Path(path)
    aside = tmp_path(target)
    try:
        aside.unlink(missing_ok=True)
        with open(aside, "xb") as file:  # made anew: what lies there under that name may be a link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: object) -> None:
    """Writes `plain(value)`, indented; the keys keep their order."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def put_folder(aside: Path, target: Path) -> None:
    """Moves the folder `aside`, once it is flushed, to `target` beside it, in place of a folder that is there.

    A folder with content cannot be renamed over, so the old one is moved first; it is moved back where the new one
    cannot take its place. Raises OSError.
    """
    for entry in [*aside.iterdir(), aside]:
        if entry.is_dir():
            sync_folder(entry)
        else:
            _sync(entry, os.O_RDONLY)
    old = aside.with_name(f"{aside.name}.old")
    replaced = target.exists()
    if replaced:
        shutil.rmtree(old, ignore_errors=True)
        os.rename(target, old)
    try:
        os.rename(aside, target)
    except BaseException:
        if replaced:
            os.rename(old, target)
        raise
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def disk_full(error: BaseException | None, also: tuple[int, ...] = ()) -> OSError | None:
    """The want of room behind `error`, if that is its cause: torch's writer raises an error of its own over it.

    `also` has numbers of `errno` that count as that too.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (*FULL, *also):
            return error
        error = error.__cause__ or error.__context__
    return None


def slug(text: str, most: int = 40, or_else: str = "x") -> str:
    """`text` as a part of a file's name, of at most `most` letters, digits and marks; `or_else` where none is left."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.")[:most] or or_else


def is_yaml(path: str | os.PathLike[str]) -> bool:
    """Whether the name is that of a YAML file."""
    return os.fspath(path).endswith((".yaml", ".yml"))


def plain(value: object) -> JSON:
    """`value` as what JSON can hold: numbers of numpy and torch become plain ones, non-finite ones a string.

    The strings are `NaN`, `Infinity` and `-Infinity`, which `float(...)` reads; JSON itself has no such numbers, and
    strict readers refuse the file where Python writes them bare.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def tmp_path(target: Path) -> Path:
    """Where this thread writes `target` aside: in the same folder, because a rename cannot cross file systems."""
    return target.with_name(f".tmp-{os.getpid()}-{threading.get_ident()}-{target.name}")


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Flushes the entries of a folder (renames, new files); does nothing where the system cannot open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: str | os.PathLike[str], flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: str | os.PathLike[str]) -> None:
    """Removes what dead processes, or this one, left half written in `folder`.

    A live process of that number keeps its files: it may be writing them. (Where the number was given to a stranger
    the files stay until it ends, which costs room and nothing else.)
    """
    for entry in Path(folder).iterdir():
        match = _TMP.match(entry.name)
        if match is None or (int(match[1]) != os.getpid() and _alive(int(match[1]))):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it exists and belongs to someone else
        return True
    return True
