"""Machine code on disk: one file for each hash of what it was compiled from.

The folder is the argument `folder`, else the variable SUPERNET_CACHE with /kernels, else ~/.cache/supernet/kernels. A
file is one line of JSON, with a hash of the whole, and then the code. It is replaced in one step, so a reader
never sees half of one; one that is damaged counts as not there and is written anew.
"""

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import write_bytes

__all__ = ["CodeCache", "Compiled", "default_folder"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture; sizes in bytes, registers a thread, shared memory a block."""

    symbol: str
    binary: bytes
    registers: int
    spilled: int
    stack: int
    shared: int


def default_folder() -> Path:
    """Where code is kept unless a folder is named."""
    own = os.environ.get("SUPERNET_CACHE")
    return (Path(own).expanduser() if own else Path.home() / ".cache" / "supernet") / "kernels"


class CodeCache:
    """Compiled kernels by key."""

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser()

    def path(self, key: str) -> Path:
        return self.folder / f"{key}.bin"

    def read(self, key: str) -> Compiled | None:
        """What was kept under `key`; None where there is nothing, or, with a warning, where it is damaged."""
        path = self.path(key)
        try:
            head, _, binary = path.read_bytes().partition(b"\n")
            facts = json.loads(head)
            if facts.pop("sha256") != _digest(facts, binary):
                raise ValueError("its hash is another")
            return Compiled(binary=binary, **facts)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            log.warning("%s cannot be read and is compiled again (%s)", path, str(error)[:80])
            return None

    def add(self, key: str, code: Compiled) -> None:
        """Keeps `code`; a folder that cannot be written costs a warning."""
        facts = asdict(code)
        binary = facts.pop("binary")
        head = json.dumps(facts | {"sha256": _digest(facts, binary)})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path(key), head.encode() + b"\n" + binary)
        except OSError as error:
            log.warning("compiled code was not kept in %s (%s)", self.folder, error.strerror)


def _digest(facts: dict[str, object], binary: bytes) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode() + binary).hexdigest()
