"""One formulation in a process of its own, so that its peak memory is its own: runs once whenever a line arrives.

    python benchmarks/common/serve.py '{"name": "torch", "part": "step", "channels": 16, ...}'

Standard output: a line of JSON once ready, a line with the seconds for each line "run", an empty answer to "warm" (what
came before is warm-up and its peak does not count), and the peak memory at the end.
"""

import ctypes
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.footprint import Footprint
from benchmarks.common.hardware import hardware, synchronise
from benchmarks.steps.formulations import make
from supernet.errors import SupernetError
from supernet.runtime.device import pick

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Has Linux kill this process when the one that started it ends, however that ends; it is in no group of its."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def serve(settings: dict[str, Any]) -> None:
    """Answers each line read."""
    torch.set_num_threads(settings["threads"])
    device = pick(settings["device"])
    footprint = Footprint(device)
    run, parameters = make(settings)
    say({"parameters": parameters, "hardware": hardware(settings["device"])})
    for line in sys.stdin:
        if line.strip() == "warm":
            footprint.forget()
            say({})
            continue
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        say({"seconds": time.perf_counter() - start})
    say(footprint.peak())


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    end_with_parent()
    try:
        serve(json.loads(sys.argv[1]))
    except (SupernetError, torch.OutOfMemoryError) as error:
        say({"error": str(error).partition("\n")[0]})
