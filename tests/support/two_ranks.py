"""Work in two processes that share their gradients, forked so that all is imported already."""

import hashlib
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

__all__ = ["WORLD", "digest", "forked"]

WORLD = 2


def forked(work: Callable[[int], Any], folder: Path, world: int = WORLD, seconds: float = 90) -> list[Any]:
    """What `work(rank)` gives in each of `world` forked processes; an exit signal (negative) where one was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    pids = []
    for rank in range(world):
        if pid := os.fork():
            pids.append(pid)
            continue
        code = 1
        try:
            environment = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "MASTER_PORT": port}
            os.environ |= {"MASTER_ADDR": "localhost"} | {key: str(value) for key, value in environment.items()}
            (folder / str(rank)).write_bytes(pickle.dumps(work(rank)))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)  # no atexit and no fixtures of the parent
    found = []
    until = time.monotonic() + seconds
    for rank, pid in enumerate(pids):
        while not (done := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        code = os.waitstatus_to_exitcode(done[1])
        found.append(pickle.loads((folder / str(rank)).read_bytes()) if code == 0 else code)
    return found


def digest(state: Any) -> str:
    """Of all tensors in nested containers, in their order."""
    sha = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            sha.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, dict | list | tuple):
            for item in value.values() if isinstance(value, dict) else value:
                add(item)

    add(state)
    return sha.hexdigest()
