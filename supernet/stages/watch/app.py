"""What `supernet watch` answers: the list of runs, and the page of each, read from their folders at that moment.

No path ever comes from a request: a run's address is the digest of its place below the root, looked up among those that
a look into the root has found. A page of another site can ask for nothing here, because its requests carry its own name
as the host (DNS rebinding), and cannot show what it gets, because nothing may be framed or read across origins.
"""

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from werkzeug.sansio.utils import host_is_trusted
from werkzeug.wrappers import Request, Response

from ...errors import SupernetError
from ...report.page import list_policy, page_policy, render, render_list
from ...runs.reading import RunRecord, read_run, run_folders

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["Watch", "address"]

log = logging.getLogger(__name__)

HOSTS = ("127.0.0.1", "localhost")
METHODS = ("GET", "HEAD")
KEPT = 40  # pages in memory
STALE = 60.0  # seconds after which a page is made anew though its run has written nothing: others beside it may have
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
Mark = tuple[tuple[str, int, int], ...]


class Watch:
    """A WSGI application over the run folders below `root`. It writes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()  # matplotlib's settings are the process's
        self._records: dict[Path, tuple[Mark, RunRecord | None]] = {}
        self._pages: dict[Path, tuple[Mark, float, str]] = {}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        response = self.answer(request)
        response.headers.update(HEADERS)
        return response(environ, start_response)

    def answer(self, request: Request) -> Response:
        """The answer to a request; every mistake of the asker has a status and one line of plain text."""
        if not host_is_trusted(request.headers.get("Host"), HOSTS):
            return _refusal(421, f"this answers to {' and '.join(HOSTS)} alone")
        if request.method not in METHODS:
            return Response("only GET and HEAD\n", 405, {"Allow": ", ".join(METHODS)})
        try:
            if request.path == "/":
                return self._page(self._list, list_policy())
            head, _, key = request.path.rpartition("/")
            run = (
                {address(self.root, path): path for path in run_folders(self.root)}.get(key) if head == "/run" else None
            )
            if run is None:
                return _refusal(404, "no such page; / has the list of runs")
            return self._page(lambda: self._run(run), page_policy())
        except (SupernetError, OSError):
            return _refusal(404, "this run cannot be read, or it is gone")
        except Exception:
            log.exception("a page could not be made")
            return _refusal(500, "this page could not be made; the terminal says why")

    def _page(self, make: Callable[[], str], policy: str) -> Response:
        with self._lock:
            text = make()
        headers = {"Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}
        return Response(text, headers=headers, mimetype="text/html")

    def _list(self) -> str:
        found = run_folders(self.root)
        for gone in self._records.keys() - set(found):
            del self._records[gone]
        runs = [(address(self.root, path), record) for path in found if (record := self._record(path)) is not None]
        runs.sort(key=lambda run: -run[1].changed)
        return render_list(runs, len(found) - len(runs))

    def _record(self, path: Path) -> RunRecord | None:
        """What a run tells in a line; None where it cannot be read. Read again only where it has written."""
        mark = _mark(path)
        if path not in self._records or self._records[path][0] != mark:
            try:
                self._records[path] = mark, read_run(path, history=False)
            except (SupernetError, OSError):
                self._records[path] = mark, None
        return self._records[path][1]

    def _run(self, path: Path) -> str:
        mark, now = _mark(path), time.monotonic()
        kept = self._pages.get(path)
        if kept is None or kept[0] != mark or now - kept[1] > STALE:
            self._pages.pop(path, None)
            while len(self._pages) >= KEPT:
                del self._pages[next(iter(self._pages))]
            kept = self._pages[path] = mark, now, render(read_run(path), live=True)
        return kept[2]


def address(root: Path, run: Path) -> str:
    """The last part of a run's address: a digest of where it lies below `root`."""
    return hashlib.sha256(os.fsencode(os.path.relpath(run, root))).hexdigest()[:16]


def _mark(path: Path) -> Mark:
    """Changes whenever a file of the run does."""
    try:
        entries = [(entry.name, entry.stat(follow_symlinks=False)) for entry in os.scandir(path)]
    except OSError:
        return ()
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in entries))


def _refusal(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, mimetype="text/plain")
