"""The command line: ``supernet STAGE key=value ...`` for each record in `supernet.stages`.

This package is the only place that imports Hydra, and it does so, like torch, when a stage with settings has been
named: the help answers at once.
"""

import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import SupernetError, short, unknown
from ..stages import STAGES, Words
from .exit_codes import USAGE, guarded
from .run_stage import read

__all__ = ["STAGES", "compare", "export", "main", "retrain", "search"]


def main(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet``; its exit code: 0 done, 1 failed, 2 a mistake in what was given, 130 or 143 stopped."""
    return guarded(lambda: _dispatch(list(sys.argv[1:] if argv is None else argv)))


def search(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-search``, which has its own tab completion."""
    return _own_command("search", argv)


def retrain(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-retrain``."""
    return _own_command("retrain", argv)


def export(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-export``."""
    return _own_command("export", argv)


def compare(argv: Sequence[str] | None = None) -> int:
    """The command ``supernet-compare``."""
    return _own_command("compare", argv)


def _own_command(name: str, argv: Sequence[str] | None) -> int:
    return main([name, *(sys.argv[1:] if argv is None else argv)])


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
    if name == "completion":
        from .completion import completion

        print(completion(rest), end="")
        return 0
    if name not in STAGES:
        if name.startswith("-") or "=" in name:
            raise SupernetError(
                f"the stage comes first: supernet STAGE {short(name, 40)} ...; stages: {', '.join(STAGES)}"
            )
        raise SupernetError(unknown("stage", name, STAGES))
    stage = STAGES[name]
    rest = [_from_home(word, quoted=stage.config is not None) for word in rest]
    if stage.config is None:
        return int(stage.run(Words(tuple(rest), read)))
    if "--version" in rest:
        print(f"supernet {__version__}")
        return 0
    from .stage_help import asks_for_help, stage_help

    if asks_for_help(rest):
        print(stage_help(stage, rest))
        return 0
    from .program import run_program
    from .typed_text import as_text

    return run_program(stage, as_text(stage, rest))


def _from_home(word: str, quoted: bool) -> str:
    """A word whose value begins with ~/ with the user's folder in its place: no shell does that behind a `=`.

    `quoted` as Hydra reads it, where the path has marks.
    """
    key, equals, value = word.partition("=")
    if not (equals and (value == "~" or value.startswith("~/"))):
        return word
    path = os.path.expanduser(value)
    plain = all(c.isalnum() or c in "_./-" for c in path)
    return f"{key}='{path}'" if quoted and not plain and "'" not in path else f"{key}={path}"


def help_text() -> str:
    """Stages with an example each; loads nothing."""
    width = max(map(len, STAGES)) + 2
    lines = [
        f"supernet {__version__}: differentiable neural architecture search",
        "",
        "Usage: supernet STAGE [OVERRIDES]",
    ]
    for name, stage in STAGES.items():
        lines += ["", f"  {name:{width}}{stage.help}", f"  {'':{width}}  {stage.example}"]
    return "\n".join(
        [
            *lines,
            "",
            "Overrides are key=value for a setting and group=option for a part.",
            "  supernet STAGE --help         parts and settings of a stage",
            "  supernet STAGE --cfg job      its composed settings as YAML",
            "  supernet STAGE -m seed=0,1    one run for each value",
            '  eval "$(supernet completion bash)"    tab completion',
        ]
    )
