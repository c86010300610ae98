"""CUDA C++ to machine code by NVRTC: no nvcc, no C++ compiler, no GPU.

Compiler and bindings come with PyTorch's CUDA wheels (cuda-bindings, nvidia-cuda-nvrtc); the kernels include nothing
but headers of this package. Code is kept on disk (code_cache.py). What the assembler says about registers, spills and
shared memory comes along, so that tests can hold ceilings.
"""

import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TypeAlias

from ...errors import SupernetError
from ..code_cache import CodeCache, Compiled
from .kernel import FOLDER, Kernel

__all__ = ["ARCHITECTURES", "bindings", "compile_kernel", "compiler_version", "key_of"]

Sizer: TypeAlias = Callable[[object], tuple[object, int]]  # an error and how many bytes there are

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")  # those that the tests compile for
OPTIONS = ("--std=c++17", "--ptxas-options=-v")
_MISSING = "the CUDA kernels need {} (pip install 'cuda-bindings' 'nvidia-cuda-nvrtc'); executor=torch works without"
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+)(?:\+\d+)? bytes smem")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


def bindings(name: str) -> ModuleType:
    """The module `cuda.bindings.<name>`; SupernetError where it is not installed."""
    try:
        return import_module(f"cuda.bindings.{name}")
    except ImportError as error:
        raise SupernetError(_MISSING.format(f"cuda.bindings.{name}")) from error


@cache
def compiler_version() -> tuple[int, int]:
    """NVRTC's version; SupernetError where there is no NVRTC."""
    nvrtc = bindings("nvrtc")
    try:
        error, major, minor = nvrtc.nvrtcVersion()
    except (RuntimeError, OSError) as missing:  # the bindings load the library at the first call
        raise SupernetError(_MISSING.format("NVRTC, the compiler library")) from missing
    if error:
        raise SupernetError(f"NVRTC does not answer: {error.name}; executor=torch needs no kernels")
    return int(major), int(minor)


def key_of(kernel: Kernel, architecture: str) -> str:
    """A hash of all that the machine code depends on: sources, name, options, architecture, compiler."""
    try:
        named = [(kernel.source, kernel.path)]
        named += [(path.relative_to(FOLDER).as_posix(), path) for path in sorted(FOLDER.rglob("*.cuh"))]
        texts = [f"{name}\n{path.read_text(encoding='utf-8')}" for name, path in named]
    except OSError as error:
        raise SupernetError(f"no kernel source {kernel.path}: {error.strerror}; is the installation whole?") from error
    version = ".".join(map(str, compiler_version()))
    return hashlib.sha256("\0".join([kernel.name, architecture, version, *OPTIONS, *texts]).encode()).hexdigest()


def compile_kernel(kernel: Kernel, architecture: str, cache: CodeCache | None = None) -> Compiled:
    """`kernel` for `architecture` ("sm_90"), from the cache where it is there.

    Raises SupernetError, with the compiler's first message, where it cannot be compiled.
    """
    cache = CodeCache() if cache is None else cache
    key = key_of(kernel, architecture)
    code = cache.read(key)
    if code is None:
        code = _compile(kernel, architecture)
        cache.add(key, code)
    return code


def _compile(kernel: Kernel, architecture: str) -> Compiled:
    nvrtc = bindings("nvrtc")
    source = kernel.path.read_text(encoding="utf-8").encode()
    _, program = nvrtc.nvrtcCreateProgram(source, kernel.source.encode(), 0, None, None)
    try:
        name = kernel.name.encode()
        nvrtc.nvrtcAddNameExpression(program, name)
        options = [f"--gpu-architecture={architecture}", f"-I{FOLDER}", *OPTIONS]
        (error,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program).decode(errors="replace")
        if error:
            raise SupernetError(f"{kernel.name} does not compile for {architecture}: {_first(log) or error.name}")
        _, symbol = nvrtc.nvrtcGetLoweredName(program, name)
        binary = _text(nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return Compiled(symbol=bytes(symbol).decode(), binary=binary, **usage(log))


def usage(log: str) -> dict[str, int]:
    """What the assembler reports of one kernel; SupernetError where it reports nothing."""
    used, stack, shared = _USED.search(log), _STACK.search(log), _SHARED.search(log)
    if used is None or stack is None:
        raise SupernetError(f"the compiler's report has no line about registers: {_first(log)!r}")
    frame, stores, loads = map(int, stack.groups())
    return {
        "registers": int(used[1]),
        "spilled": stores + loads,
        "stack": frame,
        "shared": int(shared[1]) if shared else 0,
    }


def _text(size: Sizer, get: Callable[[object, bytes], object], program: object) -> bytes:
    """What `get` writes, which is as long as `size` says."""
    _, length = size(program)
    text = b" " * max(length, 2)  # written into: of one byte there is but one object in all of Python
    get(program, text)
    return text[:length]


def _first(log: str) -> str:
    """The line that says what is wrong, or the first."""
    lines = [line.strip() for line in log.replace("\0", "").splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "")
