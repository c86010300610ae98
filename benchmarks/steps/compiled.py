"""torch.compile as the rival: the original formulation compiled, with CUDA graphs and without, beside our own.

    python benchmarks/steps/compiled.py --device cuda --batch 64 --bf16 --json
    python benchmarks/steps/compiled.py --forms original+compiled+edges --limit 600         # on the processor

A command of its own, because compiling takes long: `--limit` seconds a form, after which the row says so. Forms: the
network as a whole, and each edge by itself (112 edges of 5 kinds, which compile once each); both memory formats;
`+graphs` is mode="reduce-overhead". `first s` is the first run, compilation included. All take turns in one run.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.common.report import ORIGINAL
from benchmarks.steps.step import USUAL, parser, report

EDGES = f"{ORIGINAL}+compiled+edges"
WHOLE = f"{ORIGINAL}+compiled"
FORMS = {  # edge by edge first: where time runs out, these are there
    "cpu": [EDGES, f"{ORIGINAL}+channels_last+compiled+edges", WHOLE],
    "cuda": [
        EDGES,
        f"{EDGES}+graphs",
        f"{ORIGINAL}+channels_last+compiled+edges",
        f"{ORIGINAL}+channels_last+compiled+edges+graphs",
        WHOLE,
        f"{WHOLE}+graphs",
    ],
}


def forms(options: argparse.Namespace) -> list[str]:
    """The formulations beside the eager original."""
    kind = "cpu" if options.device == "cpu" else "cuda"
    own = [name for name in USUAL[kind] if options.part == "step" or "captured" not in name]
    return [*(options.forms or FORMS[kind]), *(options.formulations or own)]


def main(arguments: list[str] | None = None) -> int:
    own = parser("Times the original formulation under torch.compile.")
    own.add_argument("--forms", nargs="+", metavar="NAME", help=f"compiled forms, such as {EDGES}")
    options = own.parse_args(arguments)
    asked = options.forms or []
    options.formulations, options.compile = forms(options), None
    return report(options, "compiled", asked)


if __name__ == "__main__":
    sys.exit(main())
