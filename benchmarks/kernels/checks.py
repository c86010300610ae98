"""Every operator of `supernet.cuda_kernels` on odd shapes, held against float64: no times, only right or wrong.

    python benchmarks/kernels/checks.py                  # the CPU bodies, compiled where there is a C++ compiler
    python benchmarks/kernels/checks.py --device cuda    # the CUDA kernels, float32 and bf16
    python benchmarks/kernels/checks.py --shapes 0 1     # two of the shapes

Odd images, batch 1, channels that 8 does not divide, strides, one and many branches; in float32 and bf16. An output's
error may be twice that of eager PyTorch in the same precision (cases.py); NaN must come through where it does
there, and two runs must have the same bits.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.common.hardware import hardware
from benchmarks.common.report import describe, table
from benchmarks.common.script import add_device, add_json, run
from benchmarks.kernels.cases import HOME, Case, Spec
from benchmarks.kernels.kernels import bodies
from supernet.errors import SupernetError
from supernet.runtime.device import pick

SHAPES = [  # batch, channels, height, width, branches
    (2, 16, 9, 7, 4),
    (1, 1, 3, 3, 1),
    (3, 5, 7, 1, 2),
    (1, 17, 5, 12, 3),
    (2, 24, 33, 31, 6),
    (5, 64, 8, 8, 16),
    (1, 72, 4, 5, 4),
    (9, 16, 32, 32, 16),
]
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def specs(shapes: list[tuple[int, int, int, int, int]]) -> Iterator[Spec]:
    for name in HOME:
        for batch, channels, height, width, n in shapes:
            if name == "node_mix_shuffled":
                channels = 4 * -(-channels // 4)
            yield Spec(name, batch, channels, height, width, n)
            if name.startswith(("edge_group", "pool_pair")):
                yield Spec(name, batch, channels, height, width, n, stride=2)
            if name in ("edge_group_bwd", "sep_second_bwd"):
                yield Spec(name, batch, channels, height, width, n, weights=False)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result as plain values: for each operator and type how many cases there were, and what is wrong."""
    device = pick(options.device)
    kind = "cuda kernels" if device.type == "cuda" else options.body
    shapes = [SHAPES[i] for i in options.shapes]
    rows = []
    with bodies(kind):
        for name, dtype in DTYPES.items():
            for operator in options.only or HOME:
                cases = [spec for spec in specs(shapes) if spec.operator == operator]
                faults = [(f"{spec}{nan}", _wrong(spec, dtype, device, nan)) for spec in cases for nan in ("", " NaN")]
                wrong = [f"{what}: {why}" for what, why in faults if why]
                rows.append({"operator": operator, "storage": name, "cases": len(faults), "wrong": wrong})
    settings = {"bodies": kind, "shapes": shapes}
    return {"benchmark": "checks", "settings": settings, "hardware": hardware(options.device), "results": rows}


def _wrong(spec: Spec, dtype: torch.dtype, device: torch.device, nan: str) -> str:
    """Empty, or what is wrong; with `nan` one pixel of one activation is NaN."""
    try:
        case = Case(spec, dtype, device)
        if nan:
            case.poison()
        return case.check()
    except (SupernetError, RuntimeError) as error:
        return (str(error) or type(error).__name__).partition("\n")[0][:200]


def show(result: dict[str, Any]) -> str:
    """The result for people."""
    rows = [[r["operator"], r["storage"], str(r["cases"]), str(len(r["wrong"]))] for r in result["results"]]
    lines = [f"{r['operator']} {r['storage']} {r['wrong'][0]}" for r in result["results"] if r["wrong"]]
    what = f"operators of the fused cell against float64: {result['settings']['bodies']}"
    header = ["operator", "storage", "cases", "wrong"]
    return "\n".join([what, describe(result["hardware"]), "", table(header, rows), *lines])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks the operators of the fused cell against float64.")
    add_device(parser)
    parser.add_argument("--body", default="compiled", choices=("compiled", "stock"), help="on the processor (compiled)")
    parser.add_argument("--only", nargs="+", choices=tuple(HOME), metavar="NAME", help="these operators")
    every = range(len(SHAPES))
    parser.add_argument("--shapes", nargs="+", type=int, choices=every, default=every, help="these shapes alone (all)")
    add_json(parser)
    options = parser.parse_args(arguments)
    return run(partial(measure, options), show, options, lambda result: any(row["wrong"] for row in result["results"]))


if __name__ == "__main__":
    sys.exit(main())
