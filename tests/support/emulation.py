"""Runs CUDA kernels on the CPU: the very text of a .cu, compiled by g++ with emulation.hpp in front of it.

`Emulator(kernels, folder)` compiles the named instances into one library; `run(launch, order)` runs what would go to a
GPU, with the same arguments at the same addresses. `ORDERS` are those of its threads: emulation.hpp.
"""

import ctypes
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest
from torch import Tensor

from supernet.cuda_kernels.gpu.kernel import FOLDER, Kernel
from supernet.cuda_kernels.gpu.launch import THREADS, Launch

__all__ = ["ORDERS", "Emulator"]

ORDERS = tuple(range(6))
HERE = Path(__file__).resolve().parent


class Emulator:
    """Kernels as functions of a library; the test that asks for one is skipped where there is no C++ compiler."""

    def __init__(self, kernels: Iterable[Kernel], folder: Path) -> None:
        if shutil.which("g++") is None:
            pytest.skip("no g++ to compile the kernels for the emulation")
        self.names = {kernel: f"run{i}" for i, kernel in enumerate(dict.fromkeys(kernels))}
        source, library = folder / "kernels.cpp", folder / "kernels.so"
        source.write_text("\n".join(self._lines()), encoding="utf-8")
        # Products and sums stay apart (-ffp-contract): the same bits whatever the machine.
        line = ["g++", "-O1", "-std=c++17", "-w", "-ffp-contract=off", "-shared", "-fPIC", f"-I{FOLDER}", f"-I{HERE}"]
        done = subprocess.run([*line, str(source), "-o", str(library)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:2000]
        self.library = ctypes.CDLL(str(library))

    def _lines(self) -> list[str]:
        sources = dict.fromkeys(kernel.path for kernel in self.names)
        lines = ['#include "emulation.hpp"', *(f'#include "{path}"' for path in sources)]
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
