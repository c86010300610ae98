"""Pipes, sockets, endless devices and files without end where a plain file is read: one line, at once."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supernet import Genotype
from supernet.cli import main
from supernet.errors import SupernetError
from supernet.export import as_genotype
from supernet.files import open_own, read_bytes, read_text
from supernet.space.form import load_space
from supernet.space.lookup import find_genotype, kept_space

pytestmark = pytest.mark.usefixtures("own_folder")


def sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**42)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)  # a name in the working folder: whole paths may be too long for a socket


SPECIAL: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "pipe behind a link": lambda path: (os.mkfifo("behind"), path.symlink_to("behind"))[0],
    "socket": bound,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "without end": sparse,
    "folder": Path.mkdir,
}


@pytest.fixture(params=SPECIAL)
def special(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of such a file; what waits for it is interrupted."""

    def stop(*_: object) -> None:
        pytest.fail("it waited")

    SPECIAL[request.param](Path("special.json"))
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    yield "special.json"
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


READERS: dict[str, Callable[[str], object]] = {
    "bytes": lambda path: read_bytes(path, 1000),
    "text": lambda path: read_text(path, 1000),
    "genotype": Genotype.load,
    "timm's genotype": as_genotype,
    "space": load_space,
}


def test_every_reader_refuses_it_at_once(special: str) -> None:
    begun = time.monotonic()
    for name, read in READERS.items():
        with pytest.raises((SupernetError, OSError)) as caught:
            read(special)
        assert isinstance(caught.value, SupernetError) or name in ("bytes", "text")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    if not os.path.isfile(special):  # else it is plain, and only large
        with pytest.raises((SupernetError, OSError)):
            open_own(special, os.O_RDWR)
    assert time.monotonic() - begun < 2


def test_a_folder_with_it_is_refused_or_has_none(special: str) -> None:
    os.rename(special, "genotype.json")
    with pytest.raises(SupernetError):
        find_genotype(".")
    os.rename("genotype.json", "space.yaml")
    if Path("space.yaml").is_file():
        with pytest.raises(SupernetError, match="at most"):
            kept_space(".")
    else:
        assert kept_space(".") is None


LINES = (
    "draw genotype={}", "draw space={}.yaml", "search space.file={}", "retrain genotype={}", "export run={}",
    "search data=text space=darts_rnn data.root={}", "draw run=run", "export run=run",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["pipe", pytest.param("zero", marks=pytest.mark.long)])
def test_the_command_says_so_in_one_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    SPECIAL[kind](Path("special"))
    os.mkdir("run")
    SPECIAL[kind](Path("run/config.json"))
    Path("special.yaml").symlink_to("special")
    for line in LINES if kind == "zero" else LINES[1:4]:
        begun = time.process_time()
        assert main(line.format("special").split()) == 2, line
        out, error = capsys.readouterr()
        assert out == "" and error.startswith("error: ") and error.count("\n") == 1, error
        assert time.process_time() - begun < 3


def test_a_plain_file_is_read_to_its_last_byte(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to(path)
    assert read_bytes(path, 100_000) == read_bytes(tmp_path / "link", 100_000) == b"x" * 100_000
    with pytest.raises(SupernetError, match="has 100,000 bytes or more; at most 99,999 are read"):
        read_bytes(path, 99_999)
    with pytest.raises(SupernetError, match="is a link"):
        read_bytes(tmp_path / "link", 100_000, links=False)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "absent", 1)
    assert read_text("/proc/self/status", 100_000).startswith("Name:")  # its size is told as 0
    with pytest.raises(SupernetError, match="at most 10 are read"):
        read_bytes("/proc/self/status", 10)
