"""Runs CUDA kernels on the CPU: the very text of a .cu, compiled by g++ with emulation.hpp in front of it.

`Emulator(kernels)` compiles the named instances into one library; `run(launch, order)` runs what would go to a GPU,
with the same arguments at the same addresses. `ORDERS` are those of its threads: emulation.hpp. Libraries are kept
below build/, for the other processes of a run and for the next one.
"""

import ctypes
import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from torch import Tensor

from supernet.cuda_kernels.gpu.kernel import FOLDER, Kernel
from supernet.cuda_kernels.gpu.launch import THREADS, Launch
from supernet.files import write_bytes

__all__ = ["BUILD", "ORDERS", "Emulator"]

ORDERS = tuple(range(6))
HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build"  # of the checkout; git ignores it
MOST = 60  # libraries that are kept
# Products and sums stay apart (-ffp-contract): the same bits whatever the machine.
LINE = ("g++", "-O1", "-std=c++17", "-w", "-ffp-contract=off", "-shared", "-fPIC", f"-I{FOLDER}", f"-I{HERE}")
LINE += ("-U_FORTIFY_SOURCE",)  # its jumps refuse another stack


class Emulator:
    """Kernels as functions of a library; the test that asks for one is skipped where there is no C++ compiler."""

    def __init__(self, kernels: Iterable[Kernel]) -> None:
        if shutil.which("g++") is None:
            pytest.skip("no g++ to compile the kernels for the emulation")
        self.names = {kernel: f"run{i}" for i, kernel in enumerate(dict.fromkeys(kernels))}
        self.library = ctypes.CDLL(str(self._built("\n".join(self._lines()))))

    def _built(self, text: str) -> Path:
        """The library of `text`, compiled by one process while the others wait for it."""
        headers = [*FOLDER.rglob("*.cu*"), *HERE.glob("*.hpp"), *(kernel.path for kernel in self.names)]
        parts = [text, *LINE, *(f"{path}\n{path.read_text(encoding='utf-8')}" for path in sorted(set(headers)))]
        parts.append(subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout)
        folder = BUILD / "emulation"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()}.so"
        with open(path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                write_bytes(path, _compiled(text))
        for old in sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime)[: -2 * MOST]:
            old.unlink(missing_ok=True)
        return path

    def _lines(self) -> list[str]:
        sources = dict.fromkeys(kernel.path for kernel in self.names)
        lines = ['#include "emulation.hpp"', *(f'#include "{path}"' for path in sources)]
        lines.append(
            'extern "C" void omit(const char* file, int line)'
            " { emulation::omitted_file = file, emulation::omitted_line = line; }"
        )
        lines.append('extern "C" void forget() { emulation::tensors.clear(); }')
        lines.append('extern "C" void name(const char* at, size_t n) { emulation::tensors.emplace_back(at, n); }')
        for kernel, name in self.names.items():
            head = f'extern "C" const char* {name}(const int* grid, int threads, void** arguments, int order)'
            lines.append(f"{head} {{ return emulation::run({kernel.name}, grid, threads, arguments, order); }}")
        return lines

    def run(self, launch: Launch, order: int = 0, tensors: Iterable[Tensor] = ()) -> None:
        """RuntimeError where threads miss a barrier, or wide accesses leave `tensors`, where some are named."""
        self.library.forget()
        for x in tensors:
            self.library.name(ctypes.c_void_p(x.data_ptr()), ctypes.c_size_t(x.numel() * x.element_size()))
        function = self.library[self.names[launch.kernel]]
        function.restype = ctypes.c_char_p
        message = function((ctypes.c_int * 3)(*launch.grid), THREADS, launch.addresses(), order)
        if message is not None:
            raise RuntimeError(message.decode())

    @contextmanager
    def without(self, barrier: tuple[Path, int] | None) -> Iterator[None]:
        """Inside, all threads pass the `__syncthreads()` in that line of that file; for None all is as it stands."""
        path, line = barrier or (Path(), 0)
        self.library.omit(str(path).encode(), line)
        try:
            yield
        finally:
            self.library.omit(b"", 0)


def _compiled(text: str) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        source, library = Path(name) / "kernels.cpp", Path(name) / "kernels.so"
        source.write_text(text, encoding="utf-8")
        done = subprocess.run([*LINE, str(source), "-o", str(library)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]
        return library.read_bytes()
