"""`make test` tells its CPU minutes, those of the children's children and of orphans too, and fails above a limit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BURN = "import time\nwhile time.process_time() < 0.7: pass\n"
# A child that nobody waits for: it outlives its parent. The pipe tells when it has ended.
ORPHAN = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {BURN!r}])\n"
TREE = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {ORPHAN!r}], capture_output=True)\n"


def minutes(root: Path, limit: str, *command: str) -> tuple[int, str, str]:
    line = [sys.executable, str(root / ".ci" / "cpu_minutes.py"), limit, *command]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are counted on Linux alone")
def test_the_whole_tree_counts(root: Path) -> None:
    code, out, _ = minutes(root, "0.01", sys.executable, "-c", f"{TREE}time.sleep(0.2)\n")
    assert re.search(r"CPU: \d+\.\d minutes", out)
    assert code == 1, "0.7 seconds of the orphan are above 0.01 minutes, all else is below"


def test_below_the_limit_the_code_is_that_of_the_command(root: Path) -> None:
    code, out, error = minutes(root, "5", sys.executable, "-c", "raise SystemExit(3)")
    assert (code, error) == (3, "") and out == "CPU: 0.0 minutes, children included; the limit is 5\n"
    code, _, error = minutes(root, "0", sys.executable, "-c", "")
    assert code == 1 and error.startswith("error: ")
