"""The command line: ``supernet STAGE key=value ...``.

    supernet search     -> supernet-search, a Hydra program        supernet retrain, supernet export  likewise
    supernet demo       -> supernet.demo.main                      supernet draw, doctor -> supernet.cli.draw, .doctor

This package is the only place that imports Hydra, and it does so, like torch, when a stage has been named: the help
answers at once.
"""

import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import SupernetError, unknown
from .exit_codes import USAGE, guarded

__all__ = ["STAGES", "export", "main", "retrain", "search"]

# Stage -> (what it does, an example).
STAGES = {
    "search": ("find a cell by a differentiable search", "supernet search data=digits epochs=10 seed=1"),
    "retrain": ("train the network of a genotype from scratch and test it", "supernet retrain genotype=runs/RUN"),
    "export": ("write a retrained network as a folder that timm opens", "supernet export run=runs/RUN"),
    "draw": ("write pictures of a genotype, a search run or a space", "supernet draw genotype=DARTS_V2 to=cells/"),
    "doctor": ("check this installation, or whether a search fits", "supernet doctor memory space=darts batch=64"),
    "demo": ("all three on the embedded digits, with random cells as the control", "supernet demo"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet``; its exit code: 0 done, 1 failed, 2 a mistake in what was given, 130 or 143 stopped."""
    return guarded(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def search(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-search``."""
    return guarded(lambda: _stage("search", argv))


def retrain(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-retrain``."""
    return guarded(lambda: _stage("retrain", argv))


def export(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-export``."""
    return guarded(lambda: _stage("export", argv))


def _dispatch(argv: list[str]) -> int:
    if not argv:
        print(help_text(), file=sys.stderr)
        return USAGE
    name, *rest = argv
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    if name in ("-V", "--version"):
        print(f"supernet {__version__}")
        return 0
    if name not in STAGES:
        if name.startswith("-") or "=" in name:
            raise SupernetError(
                f"the stage comes first: supernet STAGE {_short(name)} ...; stages: {', '.join(STAGES)}"
            )
        raise SupernetError(unknown("stage", name, STAGES))
    if name == "demo":
        from ..demo import main as demo

        return int(demo(rest) or 0)
    if name == "draw":
        from .draw import main as draw

        return draw(rest)
    if name == "doctor":
        from .doctor import main as doctor

        return doctor(rest)
    return _stage(name, rest)


def _stage(name: str, argv: Sequence[str] | None) -> int:
    rest = list(sys.argv[1:] if argv is None else argv)
    if "--version" in rest:
        print(f"supernet {__version__}")
        return 0
    from .program import run_program

    return run_program(name, rest)


def help_text() -> str:
    """Stages with an example each; loads nothing."""
    width = max(map(len, STAGES)) + 2
    lines = [
        f"supernet {__version__}: differentiable neural architecture search",
        "",
        "Usage: supernet STAGE [OVERRIDES]",
    ]
    for name, (what, example) in STAGES.items():
        lines += ["", f"  {name:{width}}{what}", f"  {'':{width}}  {example}"]
    return "\n".join(
        [
            *lines,
            "",
            "Overrides are key=value for a setting and group=option for a part.",
            "  supernet STAGE --help         parts and settings of a stage",
            "  supernet STAGE --cfg job      its composed settings as YAML",
            "  supernet STAGE -m seed=0,1    one run for each value",
            '  eval "$(supernet-search -sc install=bash)"    tab completion; each stage has its own',
        ]
    )


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."
