"""What a device has used, where it counts that itself: NVML of a GPU, RAPL of a processor on Linux.

Both count all that runs on the device, not this process alone. RAPL may be read by root only, and many virtual machines
show none; then nothing is told, rather than estimated.
"""

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["Counter", "counter_of", "gpu_counter", "processor_counter"]

Counter = Callable[[], float]  # joules since some moment in the past; they only grow

POWERCAP = Path("/sys/class/powercap")
PACKAGE = re.compile(r"intel-rapl:\d+")  # AMD's processors are called so as well; deeper ones are parts of these


def counter_of(device: torch.device) -> Counter | None:
    """The counter of a device; None where it has none, or none that may be read."""
    if device.type == "cpu":
        return processor_counter(POWERCAP)
    if device.type != "cuda":
        return None
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return gpu_counter(library, f"GPU-{torch.cuda.get_device_properties(device).uuid}")


def gpu_counter(library: ctypes.CDLL, uuid: str) -> Counter | None:
    """NVML's total of a GPU, in joules since its driver was loaded; None for one older than Volta, or a part of one."""
    handle, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()

    def read() -> float | None:
        failed = library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules))
        return None if failed else millijoules.value / 1000

    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
        return None
    return _growing(read)


def processor_counter(folder: Path) -> Counter | None:
    """RAPL's total over the packages of the machine. A package's number begins anew at its `max_energy_range_uj`.

    That is after some minutes to hours: read seldomer, a round is missed.
    """
    try:
        packages = [path for path in sorted(folder.iterdir()) if PACKAGE.fullmatch(path.name)]
        ranges = [int((path / "max_energy_range_uj").read_text()) for path in packages]
        last = [int((path / "energy_uj").read_text()) for path in packages]
    except (OSError, ValueError):
        return None
    total = 0

    def read() -> float | None:
        nonlocal total
        for number, path in enumerate(packages):
            try:
                now = int((path / "energy_uj").read_text())
            except (OSError, ValueError):
                return None
            total += (now - last[number]) % (ranges[number] + 1)
            last[number] = now
        return total / 1e6

    return _growing(read) if packages else None


def _growing(read: Callable[[], float | None]) -> Counter | None:
    """The counter over `read`, which may fail later on: then it stands still. None where it fails at once."""
    newest = read()
    if newest is None:
        return None

    def count() -> float:
        nonlocal newest
        now = read()
        newest = newest if now is None else now
        assert newest is not None
        return newest

    return count
