"""What this machine's processor is called."""

import platform

__all__ = ["processor"]


def processor() -> str:
    """The processor's model name, such as `AMD EPYC 9654 96-Core Processor`; without one the architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()
