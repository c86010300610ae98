"""README's table of promises, written from what the tests counted.

    SUPERNET_PROMISES=build/promises.json make test && python benchmarks/project/promises.py build/promises.json

Tests record a row with the fixture `promise`; this script puts the rows between README's two markers. A test compares
the table's tests with those that exist, so that a row cannot outlive its test.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["BEGIN", "END", "main", "table"]

README = Path(__file__).resolve().parents[2] / "README.md"
BEGIN, END = "<!-- promises: written by benchmarks/project/promises.py -->", "<!-- end of promises -->"


def table(rows: Iterable[Mapping[str, str]]) -> str:
    """Rows with the keys promise, number and test as Markdown, sorted by test, one row a promise."""
    unique = {row["promise"]: row for row in rows}
    lines = [
        f"| {row['promise']} | {row['number']} | `{row['test']}` |"
        for row in sorted(unique.values(), key=lambda row: (row["test"], row["promise"]))
    ]
    return "\n".join(["| what we promise | the number | the test |", "|---|---|---|", *lines])


def main(path: str) -> int:
    """Write the table of the file at `path` into README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"error: {README} lacks the two markers {BEGIN!r} and {END!r}", file=sys.stderr)
        return 1
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    README.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}", encoding="utf-8")
    print(f"README's table has {len(rows)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or ["build/promises.json"]))
