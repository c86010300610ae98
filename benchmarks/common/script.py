"""The frame of every script: shared options, and the way from a measurement to a table, JSON and the exit code."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.common.report import add_json, tell
from supernet.errors import SupernetError

__all__ = ["add_device", "add_json", "add_sizes", "positive", "run"]

Result = dict[str, Any]  # plain values, ready for JSON


def positive(text: str) -> int:
    """A whole number of 1 or more, from the command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def add_sizes(parser: argparse.ArgumentParser, sizes: Mapping[str, int]) -> None:
    """An option for each number, with its default."""
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"default {default}")


def add_device(parser: argparse.ArgumentParser) -> None:
    """The option `--device`."""
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:1 ...")


def run(
    measure: Callable[[], Result],
    show: Callable[[Result], str],
    options: argparse.Namespace,
    failed: Callable[[Result], bool] = lambda result: False,
) -> int:
    """Measures, prints, and with --json writes; the exit code.

    2, with one line on the error output, where nothing could be measured; 1 where the result is `failed`; else 0.
    """
    try:
        result = measure()
    except SupernetError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tell(show(result), result, options)
    return int(failed(result))
