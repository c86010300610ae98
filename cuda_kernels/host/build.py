"""The library of compiled CPU bodies: compiled by the machine's C++ compiler at first use, kept, loaded.

It lies in the folder of code_cache.py under a hash of all that it depends on: sources, options, the compiler and what
that makes of this processor. A file ends with the hash of what stands before it; one that does not match is compiled
anew, since loading half a library ends the process.
"""

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

from ...errors import SupernetError
from ...files import write_bytes
from ..code_cache import default_folder

__all__ = ["compiler", "library", "load"]

log = logging.getLogger(__name__)

FOLDER = Path(__file__).resolve().parents[1]  # of all sources, which name their headers from here
COMPILERS = ("g++", "clang++", "c++")
# Not -ffast-math: NaN and infinity are to come through.
OPTIONS = ("-std=c++17", "-O3", "-march=native", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi")
NAMED = ("CXX", "PATH", "SUPERNET_CACHE", "HOME")  # what the compiler and the folder depend on
SECONDS = 300  # for one source, after which the compiler is taken to hang
DIGEST = hashlib.sha256().digest_size
_WAY_OUT = "executor=torch needs none"


def library() -> ctypes.CDLL:
    """The loaded bodies. Raises SupernetError where there is no compiler or it fails."""
    answer = _library_of(tuple(map(os.environ.get, NAMED)))
    if isinstance(answer, str):
        raise SupernetError(answer)
    return answer


@cache
def _library_of(environment: tuple[str | None, ...]) -> ctypes.CDLL | str:
    """Asked for at every call of a body, where looking for the compiler would take longer than a small body does."""
    path = compiler()
    if path is None:
        names = os.environ.get("CXX") or ", ".join(COMPILERS)
        return f"compiled CPU bodies need a C++ compiler, not found: {names}; install one or set CXX; {_WAY_OUT}"
    return _library_by(path, default_folder())


@cache
def _library_by(compiler: str, folder: Path) -> ctypes.CDLL | str:
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
    """The library out of `folder`, or compiled and kept there; a folder that cannot be written costs a warning.

    Raises SupernetError where the compiler fails.
    """
    path = folder / f"host-{_key(compiler)}.so"
    old = _open(path)
    if old is not None:
        return old
    with tempfile.TemporaryDirectory(prefix="supernet-") as name:
        built = _compile(compiler, Path(name))
        code = built.read_bytes()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(path, code + hashlib.sha256(code).digest())  # never into a file that a process has loaded
        except OSError as error:
            log.warning("the compiled CPU bodies were not kept in %s (%s)", folder, error.strerror)
        new = _open(path)
        return _prepare(ctypes.CDLL(str(built))) if new is None else new


def _key(compiler: str) -> str:
    """A hash of all that the machine code depends on.

    The compiler's own macros tell its version and what -march=native is here: a home folder may be shared by machines
    of several kinds.
    """
    try:
        paths = [*_sources(), *sorted(FOLDER.rglob("*.hpp"))]
        texts = [f"{path.relative_to(FOLDER).as_posix()}\n{path.read_text(encoding='utf-8')}" for path in paths]
    except OSError as error:
        raise SupernetError(f"no source {error.filename}: {error.strerror}; is the installation whole?") from error
    macros = _run([compiler, *OPTIONS, "-dM", "-E", "-x", "c++", os.devnull])
    return hashlib.sha256("\0".join([compiler, macros, *OPTIONS, *texts]).encode()).hexdigest()[:40]


def _sources() -> list[Path]:
    return sorted(FOLDER.rglob("*.cpp"))


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


def _compile(compiler: str, folder: Path) -> Path:
    log.info("compiling the kernels' CPU bodies with %s, once for this machine", compiler)
    sources = _sources()
    objects = [folder / f"{number}.o" for number in range(len(sources))]
    head = [compiler, *OPTIONS, f"-I{FOLDER}", "-c"]
    lines = [[*head, str(a), "-o", str(b)] for a, b in zip(sources, objects, strict=True)]
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
        lines = done.stderr.splitlines()
        said = next((text for text in lines if "error" in text), lines[0] if lines else "no message")
        raise SupernetError(f"the C++ compiler {line[0]} fails on the CPU bodies ({said[:200]}); {_WAY_OUT}")
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
