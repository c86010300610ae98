"""The library of compiled CPU bodies: kept, damaged, without a compiler, in PyTorch's own threads."""

import logging
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from supernet.cuda_kernels import host
from supernet.cuda_kernels.host import build
from supernet.errors import SupernetError

SCRIPT = """
import os, torch
from supernet.cuda_kernels import host
from supernet.cuda_kernels.pool_pair import cpu
def omp():
    return {line.split()[-1] for line in open("/proc/self/maps") if "omp" in line.split()[-1].rsplit("/", 1)[-1]}
before, tasks = omp(), lambda: len(os.listdir("/proc/self/task"))
x = torch.randn(4, 16, 8, 8)
host.library()
torch.set_num_threads(1)
cpu.pool_pair(x, 1, 1e-5)
alone = tasks()
torch.set_num_threads(2)
cpu.pool_pair(x, 1, 1e-5)
print(len(before), omp() == before, tasks() - alone)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_they_run_in_the_threads_of_pytorch_and_bring_no_second_openmp() -> None:
    if host.why_not():
        pytest.skip(host.why_not())
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "True", "1"]


SMALL = 'extern "C" void set_region(void*) {}\nextern "C" int answer() { return 42; }\n'


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of one function in place of the bodies, and the folder where it is kept."""
    if host.why_not():
        pytest.skip(host.why_not())
    source = tmp_path / "source"
    source.mkdir()
    (source / "small.cpp").write_text(SMALL, encoding="utf-8")
    monkeypatch.setattr(build, "FOLDER", source)
    monkeypatch.setenv("SUPERNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def test_the_second_load_does_not_compile(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.library().answer() == 42
    [kept] = small.iterdir()
    monkeypatch.setattr(build, "_compile", None)  # nothing to call
    assert host.load(host.compiler() or "", small).answer() == 42
    assert list(small.iterdir()) == [kept]


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", "half", "flipped"])
def test_a_damaged_library_is_compiled_again(
    small: Path, damage: bytes | str, caplog: pytest.LogCaptureFixture
) -> None:
    compiler = host.compiler() or ""
    host.load(compiler, small)
    [kept] = small.iterdir()
    whole = kept.read_bytes()
    changed = whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]
    kept.unlink()  # the loaded file stays as it is
    kept.write_bytes(damage if isinstance(damage, bytes) else whole[: len(whole) // 2] if damage == "half" else changed)
    assert host.load(compiler, small).answer() == 42
    assert "is compiled again" in caplog.text
    assert len(kept.read_bytes()) == len(whole)


def test_a_source_that_changes_is_another_library(small: Path) -> None:
    assert host.library().answer() == 42
    (build.FOLDER / "small.cpp").write_text(SMALL.replace("42", "43"), encoding="utf-8")
    assert host.load(host.compiler() or "", small).answer() == 43
    assert len(list(small.iterdir())) == 2


def test_a_folder_that_cannot_be_written_costs_a_warning(
    small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    assert host.load(host.compiler() or "", tmp_path / "file" / "folder").answer() == 42
    assert "were not kept" in caplog.text


def test_no_compiler_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("SUPERNET_CACHE", str(tmp_path))
    assert not host.available()
    said = host.why_not()
    assert "not found: no-such-compiler;" in said and "executor=torch" in said and "\n" not in said
    with pytest.raises(SupernetError, match="no-such-compiler"), host.compiled():
        pass
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not found: g++, clang++, c++;" in host.why_not()


def test_a_compiler_that_fails_is_quoted(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (build.FOLDER / "small.cpp").write_text("int x = nothing;\n", encoding="utf-8")
    said = host.why_not()
    assert "'nothing' was not declared" in said and "executor=torch" in said and "\n" not in said
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho killed >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(broken))
    assert "killed" in host.why_not()


def test_compiling_is_said_once(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=build.log.name):
        host.library()
        host.library()
    assert caplog.text.count("compiling the kernels' CPU bodies") == 1
