"""Every operator of `supernet.cuda_kernels` by itself: time, bytes, share of a copy's bandwidth, registers, spills.

    python benchmarks/kernels/kernels.py                              # the CPU bodies, compiled with a C++ compiler
    python benchmarks/kernels/kernels.py --device cuda --bf16 --json  # the CUDA kernels, batch 64
    python benchmarks/kernels/kernels.py --only node_mix --batch 2 --repeats 3

Each is first checked against float64 (cases.py); one that is wrong is not timed. Bytes are all inputs and all
outputs once, so the share of a plain copy's bandwidth, measured in the same run, tells how near memory's limit it is.
`eager` is the same in stock operations (eager.py). On a GPU both run as CUDA graphs: the host's launches do not count.
Registers and spills are those of the kernel that takes most, compiled by NVRTC for the GPU, or without one for sm_90.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.hardware import hardware
from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, run
from benchmarks.common.timing import Clock, copy_bandwidth
from benchmarks.kernels.cases import HOME, Case, Spec
from supernet.errors import SupernetError
from supernet.runtime.device import pick

COPY = {"cuda": 2**30, "cpu": 2**28}  # bytes of the copy that bandwidth is measured by
ELSEWHERE = "sm_90"  # the architecture whose registers are told where there is no GPU


def specs(batch: int, only: Sequence[str]) -> list[Spec]:
    """The calls of the DARTS search network on CIFAR-10: C=16 at 32x32, 32 at 16x16, 64 at 8x8, and reductions."""
    sizes = [(16, 32), (32, 16), (64, 8)]
    specs_of_all: list[Spec] = []
    for name in HOME:
        if only and name not in only:
            continue
        if name.startswith("edge_group"):  # the inputs of a cell have four edges, its third node one
            specs_of_all += [Spec(name, batch, c, s, s, 16) for c, s in sizes]
            specs_of_all += [Spec(name, batch, 16, 32, 32, 4), Spec(name, batch, 32, 32, 32, 16, stride=2)]
        elif name.startswith("sep_second"):
            specs_of_all += [Spec(name, batch, c, s, s, 8) for c, s in sizes]
        elif name.startswith("pool_pair"):
            specs_of_all += [Spec(name, batch, 16, 32, 32, 4), Spec(name, batch, 32, 32, 32, 4, stride=2)]
        elif name == "node_mix_shuffled":
            specs_of_all.append(Spec(name, batch, 64, 32, 32, 14))
        else:  # nodes of two and of five edges, seven terms each
            specs_of_all += [Spec(name, batch, c, s, s, 7 * edges) for c, s in sizes for edges in (2, 5)]
        if name in ("edge_group_bwd", "sep_second_bwd"):  # a step of the alphas
            specs_of_all.append(Spec(name, batch, 16, 32, 32, 16 if name == "edge_group_bwd" else 8, weights=False))
    return specs_of_all


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values."""
    device = pick(options.device)
    torch.set_num_threads(options.threads)
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    clock = Clock(device, options.repeats)
    kind = "cuda kernels" if device.type == "cuda" else options.body
    batch = options.batch or (64 if device.type == "cuda" else 8)
    with bodies(kind):
        copied = copy_bandwidth(clock, options.copy or COPY[device.type])
        rows = [_row(spec, dtype, device, clock, copied) for spec in specs(batch, options.only)]
    return {
        "benchmark": "kernels",
        "settings": {"batch": batch, "storage": str(dtype)[6:], "bodies": kind, "repeats": options.repeats,
                     "registers of": _architecture(device)},
        "hardware": hardware(options.device),
        "copy_bytes_per_second": copied,
        "results": rows,
    }  # fmt: skip


def bodies(kind: str) -> AbstractContextManager[None]:
    """Inside, operators on the processor run their compiled bodies ("compiled") or the stock ones."""
    if kind != "compiled":
        return nullcontext()
    from supernet.cuda_kernels import host

    return host.compiled()


def _row(spec: Spec, dtype: torch.dtype, device: torch.device, clock: Clock, copied: float) -> dict[str, Any]:
    row: dict[str, Any] = {"operator": spec.operator, "sizes": str(spec)}
    try:
        case = Case(spec, dtype, device)
        wrong = case.check()
        if wrong:
            return row | {"error": f"wrong, so not timed: {wrong}"}
        with clock.aside():
            eager_run = case.eager()
        seconds, eager = clock.seconds(case.run, eager_run)
        moved, operations = case.moved(), case.operations()
        row |= {
            "seconds": seconds,
            "eager_seconds": eager,
            "bytes": moved,
            "operations": operations,
            "share_of_copy": moved / seconds / copied,
        }
        return row | _registers(case, device)
    except (SupernetError, RuntimeError) as error:
        return row | {"error": (str(error) or type(error).__name__).partition("\n")[0][:200]}


def _architecture(device: torch.device) -> str:
    if device.type != "cuda":
        return ELSEWHERE
    return "sm_{}{}".format(*torch.cuda.get_device_capability(device))


def _registers(case: Case, device: torch.device) -> dict[str, Any]:
    """Of the kernels that the operator launches, the largest numbers; nothing where none can be compiled."""
    from supernet.cuda_kernels.gpu.compile import compile_kernel

    try:
        kernels = {kernel.name: kernel for kernel in case.kernels()}
        codes = [compile_kernel(kernel, _architecture(device)) for kernel in kernels.values()]
    except SupernetError as error:
        return {"registers": None, "kernels": str(error)}
    names = {name: code.registers for name, code in zip(kernels, codes, strict=True)}
    spilled, shared = (max(getattr(code, key) for code in codes) for key in ("spilled", "shared"))
    return {"registers": max(names.values()), "spilled": spilled, "shared": shared, "kernels": names}


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    header = [
        "operator",
        "sizes",
        "us",
        "eager us",
        "speed-up",
        "MB",
        "GB/s",
        "of a copy",
        "GFLOP/s",
        "registers",
        "spilled",
    ]
    rows, lines = [], []
    for r in result["results"]:
        if "error" in r:
            lines.append(f"{r['operator']} {r['sizes']}: {r['error']}")
            continue
        t = r["seconds"]
        times = [f"{t * 1e6:.1f}", f"{r['eager_seconds'] * 1e6:.1f}", f"{r['eager_seconds'] / t:.2f}"]
        bandwidth = [f"{r['bytes'] / 1e6:.1f}", f"{r['bytes'] / t / 1e9:.0f}", f"{r['share_of_copy']:.0%}"]
        code = ["-", "-"] if r["registers"] is None else [str(r["registers"]), str(r["spilled"])]
        rows.append([r["operator"], r["sizes"], *times, *bandwidth, f"{r['operations'] / t / 1e9:.0f}", *code])
    s = result["settings"]
    what = f"operators of the fused cell: {s['storage']}, {s['bodies']}, registers of {s['registers of']}"
    copied = f"a copy moves {result['copy_bytes_per_second'] / 1e9:.0f} GB/s"
    return "\n".join([what, describe(result["hardware"]), copied, "", table(header, rows), *lines])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Times the operators of the fused cell, after a check of each.")
    add_device(parser)
    parser.add_argument("--body", default="compiled", choices=("compiled", "stock"), help="on the processor (compiled)")
    parser.add_argument("--bf16", action="store_true", help="store activations in bf16")
    parser.add_argument("--only", nargs="+", choices=tuple(HOME), default=(), metavar="NAME", help="these operators")
    for name, default, what in (
        ("batch", 0, "images (64 on a GPU, else 8)"),
        ("threads", 2, "threads (2)"),
        ("repeats", 20, "runs of each (20)"),
        ("copy", 0, "bytes of the copy that bandwidth is measured by"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=what)
    add_json(parser)
    options = parser.parse_args(arguments)
    return run(partial(measure, options), show, options, lambda result: any("error" in r for r in result["results"]))


if __name__ == "__main__":
    sys.exit(main())
