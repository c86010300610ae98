"""Damaged image files, found before training starts.

Each file is opened, its header is read, and its last bytes are looked at: JPEG, PNG and GIF end with a mark of their
own, so a file that was cut off is found without decoding it. A file that does not end so is decoded, as are all other
formats, and only what cannot be decoded is refused (some cameras write past the end). A flipped bit inside a
compressed image is not looked for: it is a picture all the same.

Some 10,000 files take a second from a warm disk. The check ends after `BUDGET` seconds; by then it has looked at
samples spread over the whole set, and the rest is checked as it is read, where a bad file ends the run with the same
one line. Repair it, and the same command goes on.
"""

import logging
import os
import time
from collections.abc import Callable, Sequence

from ..counter import permutation
from ..errors import SupernetError
from .pictures import UNREADABLE, in_mode, opened

__all__ = ["BUDGET", "check_files", "problem_of"]

BUDGET = 30.0  # seconds
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b"\x3b"}
_log = logging.getLogger(__name__)


def problem_of(path: str) -> str | None:
    """What is wrong with an image file, in a few words; None where nothing is."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return "the file is empty"
            with opened(file, path) as image:
                end = _ENDS.get(image.format or "")
                if end is not None and _last(file.fileno(), size, len(end)) == end:
                    return None
                in_mode(image, 1)
    except UNREADABLE as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def check_files(paths: Sequence[str], budget: float = BUDGET, clock: Callable[[], float] = time.monotonic) -> None:
    """Looks at the files in a counted order for `budget` seconds; raises SupernetError that names the first bad one."""
    until, seen, bad = clock() + budget, 0, 0
    first: tuple[int, str] | None = None
    for i in permutation(0, "verify", 0, len(paths)).tolist():
        if problem := problem_of(paths[i]):
            bad += 1
            first = min(first or (i, problem), (i, problem))
        seen += 1
        if clock() > until:
            break
    if first is not None:
        more = f" and {bad - 1} more of {len(paths):,}" if bad > 1 else ""
        raise SupernetError(f"image {paths[first[0]]}{more} cannot be read ({first[1]}); repair or delete it")
    if seen < len(paths):
        _log.warning("checked %d of %d images in %.0f s; the others are checked as they are read",
                     seen, len(paths), budget)  # fmt: skip


def _last(handle: int, size: int, count: int) -> bytes:
    return os.pread(handle, count, max(size - count, 0))
