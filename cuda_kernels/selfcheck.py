"""Do the CUDA kernels compute on this GPU what they should? Asked once for each GPU, driver and state of the sources.

    python -m supernet.cuda_kernels.selfcheck [DEVICE]        one line a fault; exit code 0 where there is none

`unproven(device)` asks in a process of its own, since a faulty kernel may leave a CUDA context unusable, and keeps the
answer beside the compiled code, unless the check broke off or something passing, such as memory that others take, was
in its way. Every operator runs on small odd shapes in float32 and bf16, on grids so small that blocks take several
turns as they do on real ones, and is compared with its reference in float64 on the processor.
"""
# B batch, C channels, H height, W width

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..errors import SupernetError
from ..files import write_text
from .code_cache import default_folder
from .gpu import compile as compiling
from .gpu.kernel import FOLDER
from .node_mix import mix, shuffled
from .pool_pair import pair
from .separable import backward, edge_group, forward, sep_second

__all__ = ["faults", "unproven"]

log = logging.getLogger(__name__)
SECONDS = 300
Results: TypeAlias = "Tensor | Sequence[Results]"  # of an operator

ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # relative; a wrong index or a missing barrier is far outside
EPS = 1e-5
CHECKED, NOTHING = "CHECKED", "no fault"  # the last line, of a check that came to its end; and the one without faults
PASSING = ("out of memory", "unavailable")  # says a fault that may be none of the kernels'


class Case(NamedTuple):
    """B, C, H, W; size and dilation of each branch's filter; which branches run, all where that is None."""

    shape: tuple[int, int, int, int]
    filters: tuple[tuple[int, int], ...]
    gate: tuple[float, ...] | None = None


DARTS = ((3, 1), (5, 1), (3, 2), (5, 2))
CASES = (
    Case((9, 16, 17, 15), DARTS),
    Case((5, 5, 18, 21), DARTS),
    Case((2, 64, 17, 9), DARTS),
    Case((5, 16, 17, 15), (*DARTS, (7, 1), (3, 1))),
    Case((9, 16, 17, 15), DARTS, gate=(1.0, 0.0, 1.0, 1.0)),
)


@cache
def unproven(device: torch.device) -> str | None:
    """Why the kernels cannot be relied upon on this GPU, in one line; None where they can."""
    try:
        compiling.compiler_version()
    except SupernetError as error:
        return str(error)
    number = torch.cuda.current_device() if device.index is None else device.index
    path = default_folder() / f"checked-{_key(number)}.json"
    try:
        first = json.loads(path.read_text(encoding="utf-8"))["faults"][:1]
    except (OSError, ValueError, KeyError, TypeError):
        first, lasting = _ask(number)
        if lasting:
            _write(path, json.dumps({"faults": first}))
    return f"the kernels failed their check on this GPU ({first[0]})" if first else None


def _write(path: Path, text: str) -> None:
    """A folder that cannot be written costs a warning."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        log.warning("the check of the kernels was not kept in %s (%s)", path.parent, error.strerror)


def _key(number: int) -> str:
    facts = [
        torch.cuda.get_device_name(number),
        str(torch.version.cuda),
        torch.__version__,
        str(compiling.compiler_version()),
    ]
    facts.append(_driver_version())
    sources = sorted(path for suffix in ("cu", "cuh", "py") for path in FOLDER.rglob(f"*.{suffix}"))
    texts = [path.read_text(encoding="utf-8") for path in sources]
    return hashlib.sha256("\0".join([*facts, *texts]).encode()).hexdigest()[:32]


def _driver_version() -> str:
    try:
        return str(compiling.bindings("driver").cuDriverGetVersion())
    except (SupernetError, RuntimeError, OSError):  # the key does without
        return "unknown"


def _ask(number: int) -> tuple[list[str], bool]:
    """The first fault, or none; and whether that will be the answer the next time too."""
    line = [sys.executable, "-m", "supernet.cuda_kernels.selfcheck", f"cuda:{number}"]
    log.info("checking the CUDA kernels on this GPU, once: %s", " ".join(line[1:]))
    env = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}  # this very package
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=SECONDS, env=env)
    except subprocess.TimeoutExpired:
        return [f"no answer within {SECONDS} s"], False
    except OSError as error:
        return [f"it cannot be started: {error.strerror or error}"], False
    out, err = ([text for text in whole.splitlines() if text.strip()] for whole in (done.stdout, done.stderr))
    ended = out[-1:] == [CHECKED]
    named = [text for text in out if text not in (CHECKED, NOTHING)]
    if ended and done.returncode == 0:
        return [], True
    passing = any(sign in text.lower().replace("_", " ") for text in out + err for sign in PASSING)
    return (named or err[-1:] or [f"exit code {done.returncode}"])[:1], ended and bool(named) and not passing


def faults(device: torch.device) -> list[str]:
    """What goes wrong on `device`: an operator, its shape and how far it is off, or its error."""
    lines = []
    for dtype in ALLOWED:
        for case in CASES:
            for name, operator, arguments in _calls(case, dtype):
                try:
                    here, exact = ([_moved(one, to) for one in arguments] for to in (device, torch.float64))
                    off = _off(operator(*here), operator(*exact))
                except (RuntimeError, SupernetError) as error:
                    lines.append(f"{name} {case.shape} {dtype}: {str(error).splitlines()[0]:.200}")
                    continue
                if not off <= ALLOWED[dtype]:
                    lines.append(f"{name} {case.shape} {dtype}: off by {off:.2e}")
    return lines


def _small_grids() -> None:
    """From here on blocks take several turns on these images already, as they do on real ones."""
    mix.BLOCKS = mix.PARTIALS = shuffled.BLOCKS = pair.PARTIALS = 2
    forward.BLOCKS, backward.BLOCKS = 8, 8


def _calls(case: Case, dtype: torch.dtype) -> Iterator[tuple[str, Callable[..., Results], tuple[object, ...]]]:
    """(name, operator, arguments on the processor), all exact in `dtype`."""
    draw = torch.Generator().manual_seed(0)

    def image(*size: int) -> Tensor:
        return torch.randn(size, generator=draw).to(dtype)

    def small(*size: int) -> Tensor:
        return torch.rand(size, generator=draw) + 0.5

    shape, n, c, dilation = case.shape, len(case.filters), case.shape[1], [d for _, d in case.filters]
    gate = None if case.gate is None else torch.tensor(case.gate)
    on = [i for i in range(n) if case.gate is None or case.gate[i]]
    what = "" if gate is None else " with a gate"
    dw = [image(c, 1, k, k).float() / k for k, _ in case.filters]
    pw = [image(c, c, 1, 1).float() / c**0.5 for _ in case.filters]
    for stride in (1, 2):
        out = (shape[0], c, -(-shape[2] // stride), -(-shape[3] // stride))
        x, g, z = image(*shape), [image(*out) for _ in range(n)], image(n, *out)
        yield f"edge_group{what}", _of(on, 4, edge_group.edge_group), (x, dw, pw, dilation, stride, EPS, gate)
        backward_ = (x, dw, pw, dilation, stride, g, z, small(n, 3, c), image(*shape), True, gate)
        yield f"edge_group_bwd{what}", edge_group.edge_group_bwd, backward_
        if gate is not None:
            continue
        yield "pool_pair", pair.pool_pair, (x, stride, EPS)
        pooled = pair.pool_pair(x.double(), stride, EPS)[0].to(dtype)
        yield "pool_pair_bwd", pair.pool_pair_bwd, (x, pooled, g, small(3, n, c), small(2, c), small(2, c), stride)
    z1, rows = [image(*shape) for _ in range(n)], [small(n, c) for _ in range(4)]
    yield f"sep_second{what}", _of(on, 4, sep_second.sep_second), (z1, *rows[:3], dw, pw, EPS, gate)
    g, z2 = [image(*shape) for _ in range(n)], image(n, *shape)
    second = (z1, *rows, dw, pw, g, z2, small(n, 3, c), True, gate)
    yield f"sep_second_bwd{what}", _of(on, 1, sep_second.sep_second_bwd), second
    yield f"node_mix{what}", mix.node_mix, (z1, *rows[:3], small(n), gate)
    yield f"node_mix_bwd_reduce{what}", mix.node_mix_bwd_reduce, (g[0], z1, *rows, small(n), gate)
    if gate is None:
        bypass = [image(shape[0], 2 * c, *shape[2:]) for _ in range(2)]
        yield "node_mix_shuffled", shuffled.node_mix_shuffled, (z1, *rows[:3], small(n), bypass, small(2), 2)


def _of(on: Sequence[int], first: int, operator: Callable[..., tuple[Results, ...]]) -> Callable[..., Results]:
    """`operator` with the branches `on` alone in its first results: those of the others are not defined."""

    def defined(*arguments: object) -> tuple[Results, ...]:
        results = operator(*arguments)
        return *(x[on] for x in results[:first] if isinstance(x, Tensor)), *results[first:]

    return defined


def _moved(value: object, to: torch.device | torch.dtype) -> object:
    if isinstance(value, Tensor):
        return value.to(to)
    return [_moved(item, to) for item in value] if isinstance(value, list) else value


def _off(actual: Results, exact: Results) -> float:
    """The largest relative error of all tensors in two equal structures; NaN where one is."""
    if isinstance(actual, Tensor) and isinstance(exact, Tensor):
        distance = (actual.detach().cpu().double() - exact).norm() / exact.norm().clamp_min(1e-12)
        return float(distance)
    offs = [_off(one, other) for one, other in zip(actual, exact, strict=True)]
    return next((off for off in offs if off != off), max(offs, default=0.0))


def main(arguments: Sequence[str]) -> int:
    device = torch.device(arguments[0] if arguments else "cuda")
    _small_grids()
    lines = faults(device)
    print("\n".join([*(lines or [NOTHING]), CHECKED]))
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
