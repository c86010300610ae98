"""Results as a table for people and as JSON for later comparison."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["ORIGINAL", "RESULTS", "add_json", "describe", "save", "table", "tell"]

ORIGINAL = "original"  # the formulation that the others are compared with
RESULTS = Path(__file__).resolve().parents[1] / "results"


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option `--json [FOLDER]`, which every script has."""
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=RESULTS,
        metavar="FOLDER",
        help="write the result too (benchmarks/results)",
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first one to the left, numbers to the right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    ruled = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in ruled
    )


def describe(facts: dict[str, Any]) -> str:
    """Hardware and versions in one line."""
    where = facts["gpu"] or f"{facts['processor']}, {facts['threads']} threads"
    return f"{where}; torch {facts['torch']}, python {facts['python']}, {facts['platform']}"


def tell(text: str, result: dict[str, Any], options: argparse.Namespace) -> None:
    """Prints `text`, and with --json writes `result` under its benchmark's and its hardware's names."""
    print(text)
    if options.json:
        name = f"{result['benchmark']}-{result['hardware']['name']}"
        print(f"\nwritten: {save(result, options.json, name)}")


def save(result: dict[str, Any], folder: Path, name: str) -> Path:
    """Writes `result` to `folder`/`name`.json and returns that path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path
