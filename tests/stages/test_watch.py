"""`supernet watch`: it shows run folders, and nothing else to nobody else; asked in this process, and over a socket."""

import http.client
import json
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client, TestResponse

from supernet.cli import main
from supernet.errors import SupernetError
from supernet.runs.lock import RunLock
from supernet.stages.watch.app import Watch, address
from supernet.stages.watch.server import open_server
from tests.report.page.written import HOSTILE, hostile_run, searched

HERE = "http://127.0.0.1:8420"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two runs, one of them in a folder below, beside what is none."""
    root = tmp_path / "runs"
    searched(root / "one", epochs=2)
    searched(root / "sweep" / "two", epochs=2, result=None)
    (tmp_path / "secret").write_text("the secret")
    (root / "secret").symlink_to(tmp_path / "secret")
    searched(tmp_path / "outside", epochs=2)
    (root / "linked").symlink_to(tmp_path / "outside")
    (root / "empty").mkdir()
    (root / "odd").mkdir()
    (root / "odd" / "config.json").write_text("{")
    return root


def client(root: Path) -> Client:
    return Client(Watch(root))


def get(root: Path, path: str, **more: object) -> TestResponse:
    return client(root).get(path, **{"base_url": HERE, **more})  # type: ignore[arg-type]


def links(page: TestResponse) -> list[str]:
    return re.findall(r'href="(/run/[0-9a-f]{16})"', page.text)


def test_the_list_and_the_pages(root: Path) -> None:
    page = get(root, "/")
    assert page.status_code == 200 and page.mimetype == "text/html"
    assert len(links(page)) == 2 and "1 folders look like runs and cannot be read" in page.text
    assert ">one<" in page.text and ">two<" in page.text and "stopped" in page.text
    assert "linked" not in page.text and "outside" not in page.text
    for link in links(page):
        run = get(root, link)
        assert run.status_code == 200 and "<h1>" in run.text and "All runs" in run.text
        assert 'href="./' not in run.text  # no address of a file
    assert get(root.parent / "nowhere", "/").status_code == 200  # it may come yet


def test_what_it_shows_is_live(root: Path) -> None:
    watch, folder = Client(Watch(root)), root / "sweep" / "two"
    link = f"/run/{address(root, folder)}"
    assert "after epoch" in (before := watch.get(link, base_url=HERE).text) and 'http-equiv="refresh"' not in before
    with open(folder / "metrics.jsonl", "a", encoding="utf-8") as rows:
        rows.write(json.dumps({"stage": "search", "step": 30, "epoch": 2, "epoch/train/loss": 0.123456}) + "\n")
    with RunLock(folder):
        now = watch.get(link, base_url=HERE).text
        assert "0.123456" in now and "at work" in now and 'http-equiv="refresh"' in now
        assert "at work" in watch.get("/", base_url=HERE).text
    assert "at work" not in watch.get("/", base_url=HERE).text
    watch.get(link, base_url=HERE)
    for file in folder.iterdir():
        file.unlink()
    assert watch.get(link, base_url=HERE).status_code == 404


TRICKS = (
    "/../secret", "/run/../secret", "/run/..%2f..%2fsecret", "/run/%2e%2e/secret", "/secret", "/run/secret",
    "/run/linked", "/run/", "/run", "/run/one", "/one/config.json", "/run/one/config.json", "//etc/passwd", "/%00",
    "/run/%00",     "/run/" + "a" * 100_000, "/run/..\\..\\secret", "/run/%c0%ae%c0%ae/secret",
    "/run/0000000000000000", "/run/%ff",
    "/report.html", "/favicon.ico", "/run/../run/../", "/?run=../secret/", "/run/linked/config.json",
)  # fmt: skip


def test_paths_lead_nowhere(root: Path) -> None:
    outside = address(root, root.parent / "outside"), address(root, root / "linked")
    watch = client(root)
    for path in (*TRICKS, *(f"/run/{key}" for key in outside)):
        answer = watch.get(path, base_url=HERE)
        assert answer.status_code == (200 if path.startswith("/?") else 404), path
        assert "secret" not in answer.text and (answer.status_code == 200 or len(answer.text) < 100), path


def test_hosts_and_methods(root: Path) -> None:
    watch = client(root)
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8420", "0.0.0.0", "[::1]", "", "a b",
                 "127.0.0.1@evil.example", "LOCALHOST.", "xn--e1awd7f.example", "127.1"):  # fmt: skip
        answer = watch.get("/", headers={"Host": host})
        assert answer.status_code == 421 and "one" not in answer.text.replace("alone", ""), host
    for host in ("127.0.0.1:8420", "localhost:8420", "localhost", "127.0.0.1"):
        assert watch.get("/", headers={"Host": host}).status_code == 200, host
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"):
        answer = watch.open("/", method=method, base_url=HERE, data=b"x" * 1000)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD"), method
    head = watch.head("/", base_url=HERE)
    assert head.status_code == 200 and head.data == b"" and int(head.headers["Content-Length"]) > 1000


def test_headers_bind_the_browser(root: Path) -> None:
    watch = client(root)
    link = f"/run/{address(root, root / 'one')}"
    for path in ("/", link, "/none"):
        headers = watch.get(path, base_url=HERE).headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["X-Frame-Options"] == "DENY"
        assert not [name for name, _ in headers if name.lower().startswith("access-control")]
    page = watch.get(link, base_url=HERE)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and policy.endswith("frame-ancestors 'none'")
    assert policy.removesuffix("; frame-ancestors 'none'") in page.text.replace("&#39;", "'")


def test_hostile_content(tmp_path: Path) -> None:
    folder = hostile_run(tmp_path / "runs")
    (folder / "report.html").write_text(f"<script>{HOSTILE[0]}</script>")  # a stranger's page is never served
    root = tmp_path / "runs"
    for path in ("/", f"/run/{address(root, folder)}"):
        text = get(root, path).text
        assert "dataset.hit" in text
        assert not re.search(r"<(script|img|svg|iframe|h1)[^>]*>[^<]*dataset\.hit=1[^&]*</script>", text)
        assert "<script>document.doc" not in text and "<img" not in text and "<iframe" not in text
    os.mkfifo(root / "pipe")
    (root / "fifo").mkdir()
    os.mkfifo(root / "fifo" / "config.json")  # reading it would wait for ever
    deep = root / "/".join("d" * 30)
    deep.mkdir(parents=True)
    searched(deep / "run", epochs=1)
    assert len(links(get(root, "/"))) == 1


@pytest.fixture
def port(root: Path) -> Iterator[int]:
    server = open_server(root, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.port
    server.shutdown()
    thread.join()
    server.server_close()


def test_over_a_socket(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.status == 200 and b"/run/" in answer.read()
    for raw in (b"GET /../secret HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET http://evil.example/ HTTP/1.1\r\n\r\n",
                b"\x1b[2J\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 99_999 + b"\r\n\r\n",
                ):  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.connect()
        connection.sock.sendall(raw)
        assert b"200 OK" not in connection.sock.recv(1000), raw[:40]
        connection.close()
    assert capfd.readouterr() == ("", "")  # what is asked for reaches no terminal
    with pytest.raises(SupernetError, match=f"port {port} cannot be used .*port=0"):
        open_server(Path(), port)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["watch", "nowhere"], "there is no folder 'nowhere'"),
        (["watch", "port=80"], "port='80' must be a whole number from 1024 to 65535, or 0"),
        (["watch", "port=٣٣٣٣"], "must be a whole number"),
        (["watch", "prot=1"], "unknown setting of supernet watch: 'prot'; did you mean 'port'?"),
        (["watch", "a/", "b/"], "takes one folder"),
        (["report"], "needs a run folder"),
        (["report", "nowhere"], "unknown run folder in .: 'nowhere'"),
        (["report", "alow=x"], "unknown setting of supernet report: 'alow'; did you mean 'allow'?"),
        (["report", "-x"], "'-x' is no run folder"),
    ],
)
@pytest.mark.usefixtures("own_folder")
def test_mistakes_are_one_line(words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert error in captured.err and captured.err.count("\n") == 1 and captured.out == ""


@pytest.mark.usefixtures("own_folder")
def test_report_writes_the_pages_of_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        searched(Path(name), epochs=1)
    assert main(["report", "a", "run=b"]) == 0
    assert capsys.readouterr().out.split() == ["a/report.html", "b/report.html"]
    assert "<h1>b</h1>" in Path("b/report.html").read_text()
    for name in ("report", "watch"):
        assert main([name, "--help"]) == 0
        assert f"supernet {name}" in capsys.readouterr().out
