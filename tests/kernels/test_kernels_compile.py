"""Every kernel compiles for every architecture within its registers and without spills; what is compiled is kept."""

import ctypes
import logging
import re
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

from supernet.cuda_kernels.code_cache import CodeCache, default_folder
from supernet.cuda_kernels.gpu import compile as compiling
from supernet.cuda_kernels.gpu.compile import compile_kernel, usage
from supernet.cuda_kernels.gpu.kernel import FOLDER, Kernel
from supernet.errors import SupernetError
from tests.support.kernel_checks import ARCHITECTURES, code_cache

SOURCE = "node_mix/node_mix.cu"
SMALL = Kernel(SOURCE, "node_mix_bwd_finish<2, 16>")
# Of a thread: with 256 threads a block and 65,536 registers, 80 let three blocks stand on a multiprocessor, 128 two.
# Those of the other sources stand in the files of their own tests: ELSEWHERE.
CEILINGS = {
    "node_mix_fwd": 80,
    "node_mix_bwd_reduce": 128,
    "node_mix_bwd_finish": 48,
    "node_mix_shuffled": 80,
    "pool_pair_fwd": 80,
    "pool_pair_finish": 48,
    "pool_pair_bwd": 128,
}
ELSEWHERE = ("tests.kernels.test_kernels_separable_forward", "tests.kernels.test_kernels_separable_backward")
ENTRY = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\(.*\)\s+)?(\w+)\(")


def instances(terms: int, channels: int, storage: str, vector: int) -> list[Kernel]:
    """The kernels of one node, also with a gate, and of one with partial channels."""
    node = f"{storage}, {terms}, {channels}, {vector}"
    names = [f"{name}<{node}{gate}>" for name in ("node_mix_fwd", "node_mix_bwd_reduce") for gate in ("", ", true")]
    names += [f"node_mix_bwd_finish<{terms}, {channels}>"]
    names += [f"node_mix_shuffled<{storage}, {terms}, 2, {channels}, 4, {vector}>"]
    return [Kernel(SOURCE, name) for name in names]


@pytest.fixture(autouse=True)
def _compiler() -> None:
    try:
        compiling.compiler_version()
    except SupernetError as error:
        pytest.skip(str(error))


@pytest.fixture
def cache(tmp_path: Path) -> CodeCache:
    return CodeCache(tmp_path / "kernels")


def hold_the_ceilings(kernel: Kernel, architecture: str, cache: CodeCache, above: int = 0) -> None:
    code = compile_kernel(kernel, architecture, cache)
    assert (code.spilled, code.stack) == (0, 0), f"{kernel.name} on {architecture} spills"
    assert code.registers <= CEILINGS[kernel.name.partition("<")[0]] + above, f"{kernel.name} on {architecture}"
    assert code.shared <= 48 * 1024
    assert code.binary.startswith(b"\x7fELF")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(14, 16, "bf16", 8), (8, 16, "float", 4)], ids=str)
def test_kernels_compile_within_their_registers(shape: tuple[int, int, str, int], architecture: str) -> None:
    for kernel in instances(*shape):
        hold_the_ceilings(kernel, architecture, code_cache())


@pytest.mark.long
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("storage", ["float", "bf16"])
def test_all_forms_compile_within_their_registers(storage: str, architecture: str, cache: CodeCache) -> None:
    vectors = {"float": (1, 2, 4), "bf16": (1, 2, 4, 8)}[storage]
    shapes = product((1, 2, 5, 35, 64), (16, 64, 136), vectors)
    for terms, channels, vector in [*shapes, (3, 1, 1), (14, 17, 1), (21, 333, 1)]:
        for kernel in instances(terms, channels, storage, vector):
            # The forward of 64 terms takes 86 on sm_120, with a gate 94 on sm_86: its shared memory binds as well.
            above = 16 if terms == 64 and "fwd" in kernel.name else 0
            hold_the_ceilings(kernel, architecture, cache, above)


def test_every_kernel_is_under_such_tests() -> None:
    """A kernel that no test compiles has no ceiling."""
    ceilings = set(CEILINGS).union(*(import_module(name).CEILINGS for name in ELSEWHERE))
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.cu*")}
    kernels = {name: ENTRY.findall(text) for name, text in texts.items()}
    assert all(text.count("__global__ void") == len(kernels[name]) for name, text in texts.items())
    assert all(kernels[name] for name in texts if name.endswith(".cu"))
    assert {kernel for found in kernels.values() for kernel in found} == ceilings


def test_a_second_call_does_not_compile(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_kernel(SMALL, "sm_90", cache)
    monkeypatch.setattr(compiling, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compile_kernel(SMALL, "sm_90", cache) == first
    assert [path.name for path in cache.folder.iterdir()] == [f"{compiling.key_of(SMALL, 'sm_90')}.bin"]


def test_the_key_names_all_that_matters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def key(kernel: Kernel = SMALL, architecture: str = "sm_90") -> str:
        return compiling.key_of(kernel, architecture)

    keys = [key(), key(architecture="sm_80"), key(Kernel(SOURCE, "node_mix_bwd_finish<3, 16>"))]
    monkeypatch.setattr(compiling, "OPTIONS", ("--std=c++20",))
    keys.append(key())
    monkeypatch.setattr(compiling, "compiler_version", lambda: (99, 0))
    keys.append(key())
    (tmp_path / "own.cuh").write_text("// a header", encoding="utf-8")
    monkeypatch.setattr(compiling, "FOLDER", tmp_path)
    keys.append(key())
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("damage", ["cut", "flipped", "head", "empty", "folder"])
def test_a_damaged_entry_is_compiled_again(cache: CodeCache, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    first = compile_kernel(SMALL, "sm_90", cache)
    path = cache.path(compiling.key_of(SMALL, "sm_90"))
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        flipped = whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]
        head = whole.replace(b'"registers": ', b'"registers": 1', 1)
        path.write_bytes({"cut": whole[: len(whole) // 2], "flipped": flipped, "head": head, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert compile_kernel(SMALL, "sm_90", cache) == first
    assert "compiled again" in caplog.text
    assert damage == "folder" or path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert compile_kernel(SMALL, "sm_90", CodeCache(tmp_path / "file" / "kernels")).binary
    assert "not kept" in caplog.text


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPERNET_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own" / "kernels"
    monkeypatch.delenv("SUPERNET_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert CodeCache().folder == tmp_path / ".cache" / "supernet" / "kernels"


def test_mistakes_are_one_line(cache: CodeCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SupernetError, match=r"nonsense<1> does not compile for sm_90: .*error"):
        compile_kernel(Kernel(SOURCE, "nonsense<1>"), "sm_90", cache)
    with pytest.raises(SupernetError, match="does not compile for sm_20"):
        compile_kernel(SMALL, "sm_20", cache)
    with pytest.raises(SupernetError, match="no kernel source"):
        compile_kernel(Kernel("nowhere.cu", "f"), "sm_90", cache)
    with pytest.raises(SupernetError, match="no line about registers"):
        usage("ptxas info: nothing")
    with pytest.raises(SupernetError, match=r"cuda\.bindings\.nothing .*executor=torch"):
        compiling.bindings("nothing")


@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_what_the_compiler_writes_is_no_object_of_others(length: int) -> None:
    """Python has one object for each string of one byte: written into, it would be another everywhere."""

    def write(_: object, text: bytes) -> None:
        assert text is not bytes([text[0]]) and len(text) >= length
        ctypes.memmove(ctypes.cast(text, ctypes.c_void_p), b"\0" * length, length)

    assert compiling._text(lambda _: (0, length), write, None) == b"\0" * length


def test_the_report_is_read() -> None:
    log = """ptxas info    : Function properties for f
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 4096+16 bytes smem, 360 bytes cmem[0]"""
    assert usage(log) == {"registers": 40, "spilled": 12, "stack": 16, "shared": 4096}
