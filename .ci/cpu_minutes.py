"""Runs a command and tells the CPU minutes of all its processes; the exit code is 1 where they exceed a limit.

    python .ci/cpu_minutes.py 24 python -m pytest -n 2

User and system time of the whole tree count, also of processes whose parent ended before them.
"""

import ctypes
import os
import resource
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h: orphans of the tree become children of this process, so that they count


def main(limit: float, command: list[str]) -> int:
    """The exit code of the command; 1 where it is 0 and the tree took more than `limit` minutes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    code = run(command)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (used.ru_utime + used.ru_stime) / 60
    print(f"CPU: {minutes:.1f} minutes, children included; the limit is {limit:g}", flush=True)
    if minutes > limit:
        print(f"error: {minutes:.1f} CPU minutes are more than {limit:g}: make tests cheaper", file=sys.stderr)
    return code or int(minutes > limit)


def run(command: list[str]) -> int:
    """Waits for the command, and then for those of its processes that have ended too."""
    with subprocess.Popen(command) as process:
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                continue  # the command got it as well, and tells what it has
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
