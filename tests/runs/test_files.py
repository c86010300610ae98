"""Files that several threads write at once are whole."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from supernet.files import write_bytes


def test_threads_that_write_one_file_do_not_mix(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([i]) * 100_000 for i in range(8)]
    with ThreadPoolExecutor(len(contents)) as threads:
        list(threads.map(lambda content: write_bytes(path, content), contents))
    assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]
