"""The kernels' CPU bodies as a library: found, compiled by the machine's C++ compiler at first use, kept, loaded.

`with compiled():` switches them on for the operators called inside (in this thread and context only); `available` and
`why_not` say whether they can be. The library lies in the folder of code_cache.py under a hash of all that it depends
on: sources, options, compiler, processor. A file ends with the hash of what stands before it; one that does not match
is compiled anew, since loading half a library ends the process.
"""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import SupernetError
from .code_cache import default_folder

__all__ = ["available", "bodies", "compiled", "compiler", "library", "load", "serves", "why_not"]

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parent
COMPILERS = ("g++", "clang++", "c++")
# Not -ffast-math: NaN and infinity are to come through.
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
NAMED = ("CXX", "PATH", "SUPERNET_CACHE", "HOME")  # what the compiler and the folder depend on
NAMED = ("CXX", "PATH", "SUPERNET_CACHE", "HOME")  # what the compiler and the folder depend on
SECONDS = 300  # for one source, after which the compiler is taken to hang
DIGEST = hashlib.sha256().digest_size
_WAY_OUT = "executor=torch needs none"

_on: ContextVar[bool] = ContextVar("compiled CPU bodies", default=False)


@contextmanager
def compiled(on: bool = True) -> Iterator[None]:
    """Operators called inside take the compiled bodies, or with `on` False the stock ones.

    Raises SupernetError where they cannot be compiled.
    """
    if on:
        library()
    before = _on.set(on)
    try:
        yield
    finally:
        _on.reset(before)


def serves(x: Tensor) -> bool:
    """Whether an operator on `x` is to take the compiled body."""
    return _on.get() and x.dtype == torch.float32 and x.device.type == "cpu"


def bodies() -> Any:
    """The module of the compiled bodies, under the operators' names; imported when first used, as it imports this."""
    return import_module(f"{__package__}.host_bodies")


def available() -> bool:
    """Whether there are compiled bodies here; the first call compiles them."""
    return not why_not()


def why_not() -> str:
    """One line that says why there are no compiled bodies and what to do; empty where there are."""
    try:
        library()
    except SupernetError as error:
        return str(error)
    return ""


def library() -> ctypes.CDLL:
    """The loaded bodies. Raises SupernetError where there is no compiler or it fails."""
    answer = _found(tuple(map(os.environ.get, NAMED)))
    if isinstance(answer, str):
        raise SupernetError(answer)
    return answer


@cache
def _found(environment: tuple[str | None, ...]) -> ctypes.CDLL | str:
    """Asked for at every call of a body, where looking for the compiler would take longer than a small body does."""
    found = compiler()
    if found is None:
        looked = os.environ.get("CXX") or ", ".join(COMPILERS)
        return f"compiled CPU bodies need a C++ compiler, not found: {looked}; install one or set CXX; {_WAY_OUT}"
    return _answer(found, default_folder())


@cache
def _answer(compiler: str, folder: Path) -> ctypes.CDLL | str:
    """Kept with its failures: a compiler that fails is not tried at every call."""
    try:
        return load(compiler, folder)
    except SupernetError as error:
        return str(error)


def compiler() -> str | None:
    """The C++ compiler that is used: $CXX, else the first of COMPILERS that is there."""
    own = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [own] if own else COMPILERS)), None)


def load(compiler: str, folder: Path) -> ctypes.CDLL:
    """The library out of `folder`, or compiled and kept there; a folder that cannot be written costs a warning."""
    path = folder / f"host-{_key(compiler)}.so"
    kept = _open(path)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="supernet-") as name:
        built = _compile(compiler, Path(name))
        code = built.read_bytes()
        try:
            _keep(path, code + hashlib.sha256(code).digest())
        except OSError as error:
            log.warning("the compiled CPU bodies were not kept in %s (%s)", folder, error.strerror)
        made = _open(path)
        return _prepare(ctypes.CDLL(str(built))) if made is None else made


def _key(compiler: str) -> str:
    """A hash of all that the machine code depends on."""
    try:
        texts = [f"{path.name}\n{path.read_text(encoding='utf-8')}" for path in [*_sources(), *_headers()]]
    except OSError as error:
        raise SupernetError(f"no source {error.filename}: {error.strerror}; is the installation whole?") from error
    version = _run([compiler, "--version"])
    return hashlib.sha256("\0".join([compiler, version, _processor(), *OPTIONS, *texts]).encode()).hexdigest()[:40]


def _sources() -> list[Path]:
    return sorted(FOLDER.glob("*.cpp"))


def _headers() -> list[Path]:
    return sorted(FOLDER.glob("*.hpp"))


def _processor() -> str:
    """What -march=native looks at: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kinds = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(kinds)}))


def _open(path: Path) -> ctypes.CDLL | None:
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
            raise OSError("its hash is another")
        return _prepare(ctypes.CDLL(str(path)))
    except FileNotFoundError:
        return None
    except (OSError, AttributeError) as error:
        log.warning("%s cannot be loaded and is compiled again (%s)", path, str(error)[:80])
        return None


def _keep(path: Path, content: bytes) -> None:
    """In one step, and never into a file that another process has loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=".tmp-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _compile(compiler: str, folder: Path) -> Path:
    log.info("compiling the kernels' CPU bodies with %s, once for this machine", compiler)
    sources = _sources()
    objects = [folder / f"{source.stem}.o" for source in sources]
    lines = [[compiler, *OPTIONS, "-c", str(a), "-o", str(b)] for a, b in zip(sources, objects, strict=True)]
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        list(workers.map(_run, lines))
    built = folder / "host.so"
    _run([compiler, "-shared", *map(str, objects), "-o", str(built)])
    return built


def _run(line: list[str]) -> str:
    english = os.environ | {"LC_ALL": "C"}
    try:
        done = subprocess.run(
            line, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False, env=english
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SupernetError(f"the C++ compiler {line[0]} does not run ({str(error)[:120]}); {_WAY_OUT}") from error
    if done.returncode:
        said = (
            [text for text in done.stderr.splitlines() if "error" in text] or done.stderr.splitlines() or ["no message"]
        )
        raise SupernetError(f"the C++ compiler {line[0]} fails on the CPU bodies ({said[0][:200]}); {_WAY_OUT}")
    return done.stdout


def _prepare(bodies: ctypes.CDLL) -> ctypes.CDLL:
    """Hands PyTorch's own pool of threads over: OpenMP's entry in GNU spelling, which Intel's and LLVM's know too."""
    bodies.set_region(_region())
    return bodies


def _region() -> ctypes.c_void_p | None:
    beside = sorted((Path(torch.__file__).parent / "lib").glob("lib*omp*.so*"))
    for name in [None, *map(str, beside)]:
        try:
            return ctypes.cast(ctypes.CDLL(name).GOMP_parallel, ctypes.c_void_p)
        except (AttributeError, OSError, TypeError):
            continue
    log.warning("PyTorch's OpenMP was not found: the compiled CPU bodies run in one thread")
    return None
