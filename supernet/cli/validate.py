"""The command line is read and composed once before Hydra runs, so that every mistake in it is one line.

A configuration is data: nothing that is named in one is imported or called. So of Hydra's own settings, which may name
classes, log handlers and callbacks, only those listed here are open. A user's own YAML files (`--config-dir`) set none
of them (`foreign.py`), unless they are trusted, and then name no class that is not Hydra's.
"""

import argparse
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ..errors import SupernetError, unknown
from ..stages import AnyStage
from .foreign import TRUST
from .hydra_errors import explained
from .settings import compose, loader_for, settings

__all__ = ["Checked", "check", "trusts", "without_trust"]

LONGEST = 4000  # characters of one override; Hydra's parser takes seconds for a hundred thousand
MOST_RUNS = 1000  # of one sweep
OPEN = ("hydra.mode", "hydra.searchpath", "hydra.verbose")
OPEN_BELOW = ("hydra.launcher.", "hydra.sweeper.")
OPEN_GROUPS = ("hydra/launcher", "hydra/sweeper")
TRUSTED = ("hydra._internal.core_plugins.", "hydra_plugins.", "logging.")  # where classes in Hydra's part may come from


@dataclass(frozen=True)
class Checked:
    """A good command line: the configuration of each run that was composed for the check, and whether it is to run."""

    configs: tuple[object, ...]  # the stage's dataclass
    lines: tuple[tuple[str, ...], ...]  # the overrides of each
    sweeps: bool
    runs: bool  # False: it only shows something (--help, --cfg, --info, tab completion)


def trusts(argv: Sequence[str]) -> bool:
    """Whether the user's own YAML files may set Hydra's part."""
    return any(_is_trust(word) for word in argv)


def without_trust(argv: Sequence[str]) -> list[str]:
    """`argv` as Hydra knows it."""
    return [word for word in argv if not _is_trust(word)]


def check(stage: AnyStage, argv: Sequence[str]) -> Checked:
    """Composes what `argv` asks for; raises SupernetError with one line for any mistake."""
    args = _arguments(stage.name, argv)
    if args.shell_completion or args.hydra_help:
        return Checked((), (), sweeps=False, runs=False)
    for line in args.overrides:
        _check_text(line)
    loader = loader_for(stage.name, args.config_dir, trusted=args.trust)
    name = args.config_name or stage.name
    with explained(stage.name, loader, name, args.overrides):
        parsed = OverridesParser.create(loader).parse_overrides(args.overrides)
        for override in parsed:
            _check_open(override)
        sweeps = args.multirun or any(o.key_or_group == "hydra.mode" and o.value() == "MULTIRUN" for o in parsed)
        lines = _one_by_one(parsed) if sweeps else [list(args.overrides)]
        composed = [compose(loader, name, line) for line in lines]
        for one in composed:
            _check_hydra(one)
        configs = tuple(settings(stage, one) for one in composed)
    runs = not (args.help or args.cfg or args.info)
    return Checked(configs, tuple(map(tuple, lines)), sweeps=sweeps, runs=runs)


class _Parser:
    """Hydra's own argument parser, whose errors are ours."""

    def __init__(self, stage: str) -> None:
        self.parser = get_args_parser()
        self.parser.prog = f"supernet {stage}"
        self.parser.error = self._error  # type: ignore[method-assign]
        self.parser.add_argument(TRUST, action="store_true")

    @staticmethod
    def _error(message: str) -> NoReturn:
        raise SupernetError(f"{message}; options begin with -, settings are key=value")


def _arguments(stage: str, argv: Sequence[str]) -> argparse.Namespace:
    args = _Parser(stage).parser.parse_args(list(argv))
    if args.experimental_rerun is not None:
        raise SupernetError("--experimental-rerun reads a pickle, which can run anything; give the overrides again")
    if args.config_path is not None:
        raise SupernetError("--config-path would hide the settings of this package; --config-dir FOLDER adds to them")
    actions = [args.run, args.multirun, args.cfg is not None, args.info is not None, args.shell_completion]
    if sum(map(bool, actions)) > 1:
        raise SupernetError("give one of --run, --multirun (-m), --cfg, --info, --shell-completion")
    if args.resolve and not (args.cfg or args.help):
        raise SupernetError("--resolve goes with --cfg job or --help")
    return args


def _is_trust(word: str) -> bool:
    return len(word) > 2 and TRUST.startswith(word)  # argparse takes the beginning of an option for it


def _check_text(line: str) -> None:
    if len(line) > LONGEST:
        raise SupernetError(f"the override {line[:40]!r}... has {len(line)} characters; at most {LONGEST} are read")
    if not all(c.isprintable() or c == " " for c in line):
        raise SupernetError(f"the override {line!r} has characters that cannot be printed; write it as plain text")


def _check_open(override: Override) -> None:
    key, value = override.key_or_group, override.value()
    if key != "hydra" and not key.startswith(("hydra.", "hydra/")):
        return
    if not (key in OPEN or key.startswith(OPEN_BELOW) or key in OPEN_GROUPS) or override.package is not None:
        allowed = ", ".join([*OPEN, *(f"{k}*" for k in OPEN_BELOW), *OPEN_GROUPS])
        raise SupernetError(
            f"{key[:60]!r} is not open here; of Hydra's own settings these are: {allowed}; run.root and run.name "
            "choose the run folder"
        )
    if "_target_" in key or "_target_" in str(value):
        raise SupernetError(f"{key}: a class cannot be named on the command line; choose {' or '.join(OPEN_GROUPS)}")
    if key == "hydra.mode" and value not in ("RUN", "MULTIRUN"):
        raise SupernetError(unknown("hydra.mode", value, ["RUN", "MULTIRUN"]))
    if key == "hydra.searchpath":
        folders = value if isinstance(value, list) else [value]
        # Any other scheme, as pkg://NAME, would import what it names.
        paths = [(str(v), str(v).removeprefix("file://")) for v in folders]
        if strange := [text for text, path in paths if "://" in path or not os.path.isdir(path)]:
            raise SupernetError(f"hydra.searchpath={strange[0][:200]!r} is no folder; give [FOLDER] or [file://FOLDER]")


def _check_hydra(composed: DictConfig) -> None:
    """What is typed, or comes from trusted files, must name no class in Hydra's part but Hydra's own."""
    hydra = OmegaConf.to_container(composed.hydra, resolve=False)
    if callbacks := hydra.get("callbacks") if isinstance(hydra, dict) else None:
        raise SupernetError(f"hydra.callbacks={str(callbacks)[:80]} would run code; remove it from your YAML files")
    for where, key, value in _walk(hydra, "hydra"):
        if key == "()" or (key in ("_target_", "class") and not str(value).startswith(TRUSTED)):
            raise SupernetError(f"{where}={str(value)[:80]!r} would run code; remove it from your YAML files")


def _walk(value: object, where: str) -> Iterator[tuple[str, str, object]]:
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, item in pairs:
        yield f"{where}.{key}", str(key), item
        yield from _walk(item, f"{where}.{key}")


def _one_by_one(parsed: Sequence[Override]) -> list[list[str]]:
    """Command lines that together name each value of a sweep once: their sum, where the sweep runs their product."""
    fixed = [o.input_line for o in parsed if not o.is_sweep_override()]
    axes: list[list[str]] = []
    for override in parsed:
        if override.is_sweep_override() and override.is_discrete_sweep():
            values = itertools.islice(override.sweep_string_iterator(), MOST_RUNS + 1)
            axes.append([f"{override.get_key_element()}={value}" for value in values])
    runs = 1
    for axis in axes:
        runs *= len(axis)
    if runs > MOST_RUNS:
        raise SupernetError(f"this sweep has over {MOST_RUNS} runs; sweep over fewer values")
    if not all(axes):
        raise SupernetError("a sweep over no values; give at least one")
    first = [axis[0] for axis in axes]
    lines = [[*fixed, *first]]
    for i, axis in enumerate(axes):
        lines += [[*fixed, *first[:i], value, *first[i + 1 :]] for value in axis[1:]]
    return [[line for line in one if line] for one in lines]
