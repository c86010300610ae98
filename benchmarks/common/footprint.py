"""Memory of this process, or of a GPU, between two moments."""

import resource
import sys
from pathlib import Path

import torch

__all__ = ["Footprint"]

PAGES = Path("/proc/self/statm")
STATUS = Path("/proc/self/status")
FORGET = Path("/proc/self/clear_refs")


class Footprint:
    """Made just before a network is built, it tells what came on top of python and the loaded libraries.

    On the processor the resident set, on a GPU the allocator's own count, which has no libraries in it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._loaded = 0 if device.type == "cuda" else _resident()

    def forget(self) -> None:
        """Peaks so far do not count any more; what is still held does.

        Not on a GPU, where the room of a graph is counted while it is captured, and not at a replay.
        """
        if self.device.type != "cuda" and FORGET.exists():
            try:
                FORGET.write_text("5", encoding="utf-8")
            except OSError:  # refused in some containers: then the peak is that of the whole life of the process
                return

    def peak(self) -> dict[str, int]:
        """`peak_bytes` above the libraries, and `total_bytes` with them."""
        total = torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else _highest()
        return {"peak_bytes": total - self._loaded, "total_bytes": total}


def _resident() -> int:
    """Present resident set, bytes; where there is no /proc, the largest so far."""
    try:
        return int(PAGES.read_text(encoding="utf-8").split()[1]) * resource.getpagesize()
    except OSError:
        return _highest()


def _highest() -> int:
    """Largest resident set since the last `forget`, bytes."""
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
