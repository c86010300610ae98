"""Other checkouts of the project, to be measured beside one another: their interpreter, their scripts, old and new.

A checkout has a `.venv` of its own, in which it is installed; without one this process's interpreter serves it. What it
imports is looked at, because an interpreter may have another checkout installed.
"""

import os
import sys
from pathlib import Path

from supernet.errors import SupernetError

__all__ = ["environment", "interpreter", "module_of_steps", "program_of_worker"]

# Where a step is made and where it is run on demand; the second places are those of older checkouts.
STEPS = ("benchmarks/steps/formulations.py", "benchmarks/formulations.py")
WORKER = ("benchmarks/common/serve.py", "benchmarks/worker.py")


def interpreter(checkout: Path) -> str:
    """The Python that runs the checkout."""
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def environment(threads: int, checkout: Path | None = None) -> dict[str, str]:
    """Environment variables for so many threads; with a checkout its `supernet` and `benchmarks` are those imported."""
    count = str(threads)
    variables = os.environ | {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}
    return variables if checkout is None else variables | {"PYTHONPATH": str(checkout)}


def module_of_steps(checkout: Path) -> str:
    """Dotted name of the module whose `make(settings)` gives one step."""
    return ".".join(_first(checkout, STEPS).with_suffix("").parts)


def program_of_worker(checkout: Path) -> tuple[str, Path]:
    """(Python, script) that run one formulation of the checkout whenever a line arrives."""
    return interpreter(checkout), checkout / _first(checkout, WORKER)


def _first(checkout: Path, places: tuple[str, ...]) -> Path:
    for place in places:
        if (checkout / place).is_file():
            return Path(place)
    raise SupernetError(f"{checkout} is no checkout of this project: it has none of {', '.join(places)}")
