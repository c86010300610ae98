"""Do the CUDA kernels compute on this GPU what they should? Asked once for each GPU, driver and state of the sources.

    python -m supernet.cuda_kernels.selfcheck [DEVICE]        one line a fault; exit code 0 where there is none

`unproven(device)` asks in a process of its own, since a faulty kernel may leave a CUDA context unusable, and keeps the
answer beside the compiled code. Every operator runs on small odd shapes in float32 and bf16 and is compared with its
reference in float64 on the processor.
"""
# B batch, C channels, H height, W width

import hashlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from supernet.errors import SupernetError

from .code_cache import default_folder

__all__ = ["faults", "unproven"]

log = logging.getLogger(__name__)
SECONDS = 300
ALLOWED = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # relative; a wrong index or a missing barrier is far outside
SHAPES = ((2, 16, 9, 8), (3, 5, 4, 7), (1, 64, 8, 8))
EPS = 1e-5


@cache
def unproven(device: torch.device) -> str | None:
    """Why the kernels cannot be relied upon on this GPU, in one line; None where they can."""
    from .compile import compiler_version

    try:
        compiler_version()
    except SupernetError as error:
        return str(error)
    number = torch.cuda.current_device() if device.index is None else device.index
    path = default_folder() / f"checked-{_key(number)}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["faults"]
    except (OSError, ValueError, KeyError, TypeError):
        found = _ask(number)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"faults": found}), encoding="utf-8")
        except OSError as error:
            log.warning("the check of the kernels was not kept in %s (%s)", path.parent, error.strerror)
    return f"the kernels failed their check on this GPU ({found[0]})" if found else None


def _key(number: int) -> str:
    from .compile import compiler_version
    from .launch import FOLDER

    facts = [torch.cuda.get_device_name(number), str(torch.version.cuda), torch.__version__, str(compiler_version())]
    sources = sorted([*FOLDER.glob("*.cu"), *FOLDER.glob("*.cuh"), *FOLDER.glob("*.py")])
    texts = [path.read_text(encoding="utf-8") for path in sources]
    return hashlib.sha256("\0".join([*facts, *texts]).encode()).hexdigest()[:32]


def _ask(number: int) -> list[str]:
    line = [sys.executable, "-m", "supernet.cuda_kernels.selfcheck", f"cuda:{number}"]
    log.info("checking the CUDA kernels on this GPU, once: %s", " ".join(line[1:]))
    try:
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return [f"no answer within {SECONDS} s"]
    lines = [text for text in (done.stdout + done.stderr).splitlines() if text.strip()]
    return [] if done.returncode == 0 else [lines[0] if lines else f"exit code {done.returncode}"]


def faults(device: torch.device) -> list[str]:
    """What goes wrong on `device`: an operator, its shape and how far it is off, or its error."""
    found = []
    for dtype in ALLOWED:
        for shape in SHAPES:
            for name, operator, arguments in _calls(shape, dtype):
                try:
                    off = _off(operator(*_moved(arguments, device)), operator(*_moved(arguments, torch.float64)))
                except (RuntimeError, SupernetError) as error:
                    found.append(f"{name} {shape} {dtype}: {str(error).splitlines()[0]:.200}")
                    continue
                if not off <= ALLOWED[dtype]:
                    found.append(f"{name} {shape} {dtype}: off by {off:.2e}")
    return found


def _calls(shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """(name, operator, arguments on the processor), all exact in `dtype`."""
    from .edge_group import edge_group, edge_group_bwd
    from .node_mix import node_mix, node_mix_bwd_reduce
    from .pool_pair import pool_pair, pool_pair_bwd
    from .sep_second import sep_second, sep_second_bwd

    draw = torch.Generator().manual_seed(0)

    def image(*size: int) -> Tensor:
        return torch.randn(size, generator=draw).to(dtype)

    def small(*size: int) -> Tensor:
        return torch.rand(size, generator=draw) + 0.5

    c, kernels, dilation = shape[1], (3, 5, 3, 5), [1, 1, 2, 2]
    dw = [image(c, 1, k, k).float() / k for k in kernels]
    pw = [image(c, c, 1, 1).float() / c**0.5 for _ in kernels]
    for stride in (1, 2):
        out = (shape[0], c, -(-shape[2] // stride), -(-shape[3] // stride))
        x, g, z = image(*shape), [image(*out) for _ in kernels], image(4, *out)
        yield "edge_group", edge_group, (x, dw, pw, dilation, stride, EPS)
        yield "edge_group_bwd", edge_group_bwd, (x, dw, pw, dilation, stride, g, z, small(4, 3, c), image(*shape), True)
        yield "pool_pair", pool_pair, (x, stride, EPS)
        pooled = pool_pair(x.double(), stride, EPS)[0].to(dtype)
        backward = (x, pooled, g, small(3, 4, c), small(2, c), small(2, c), stride)
        yield "pool_pair_bwd", pool_pair_bwd, backward
    z1, rows = [image(*shape) for _ in kernels], [small(4, c) for _ in range(4)]
    yield "sep_second", sep_second, (z1, *rows[:3], dw, pw, EPS)
    g, z2 = [image(*shape) for _ in kernels], image(4, *shape)
    yield "sep_second_bwd", sep_second_bwd, (z1, *rows, dw, pw, g, z2, small(4, 3, c), True)
    yield "node_mix", node_mix, (z1, *rows[:3], small(4))
    yield "node_mix_bwd_reduce", node_mix_bwd_reduce, (g[0], z1, *rows, small(4))


def _moved(value: Any, to: torch.device | torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(to)
    return type(value)(_moved(item, to) for item in value) if isinstance(value, tuple | list) else value


def _off(found: Any, exact: Any) -> float:
    """The largest relative error of all tensors in two equal structures; NaN where one is."""
    if isinstance(found, Tensor):
        distance = (found.detach().cpu().double() - exact).norm() / exact.norm().clamp_min(1e-12)
        return float(distance)
    offs = [_off(one, other) for one, other in zip(found, exact, strict=True)]
    return next((off for off in offs if off != off), max(offs, default=0.0))


def main(arguments: Sequence[str]) -> int:
    device = torch.device(arguments[0] if arguments else "cuda")
    found = faults(device)
    print("\n".join(found) or "no fault")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
