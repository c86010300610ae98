"""The name of this machine's processor, as people know it."""

import platform
from functools import cache
from pathlib import Path

__all__ = ["processor"]


@cache
def processor() -> str:
    """The processor's model as Linux tells it, such as `AMD EPYC 7B13 64-Core Processor`.

    Elsewhere, and for processors that Linux has no model name of (many ARM ones), what Python's `platform` knows: the
    kind of processor, or at least of machine, such as `arm64`. Read once a process.
    """
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:  # not Linux, or a container that hides it
        pass
    return platform.processor() or platform.machine()
