"""The stage `watch`: run folders in a browser of this machine, while they are at work. Read here, without Hydra."""

from collections.abc import Sequence
from pathlib import Path

from ...errors import SupernetError, unknown
from ..stage import Stage, Words

__all__ = ["STAGE"]

PORT = 8420
HELP = f"""\
Usage: supernet watch              the runs below runs/, at http://127.0.0.1:{PORT}/
       supernet watch FOLDER port=N

  FOLDER   where run folders lie, at most three levels below
  port=    1024 to 65535, or 0 for any that is free

It reads run folders alone, changes nothing, and answers this machine alone. Ctrl-C ends it. From elsewhere:
ssh -L {PORT}:127.0.0.1:{PORT} MACHINE, and the same address in your own browser."""


def run(words: Words) -> int:
    """Serves until it is interrupted. Raises SupernetError for mistakes, and for a port that is taken."""
    if any(word in ("-h", "--help", "help") for word in words.given):
        print(HELP)
        return 0
    root, port = _settings(words.given)
    from .server import serve

    serve(root, port)
    return 0


def _settings(words: Sequence[str]) -> tuple[Path, int]:
    root, port = None, PORT
    for word in words:
        key, equals, value = word.partition("=")
        if equals and key == "port":
            if not value.isascii() or not value.isdigit() or len(value) > 5 or not _allowed(int(value)):
                raise SupernetError(f"port={value[:20]!r} must be a whole number from 1024 to 65535, or 0")
            port = int(value)
        elif word.startswith("-") or (equals and "/" not in key and not Path(word).exists()):
            raise SupernetError(unknown("setting of supernet watch:", key, ["port"]))
        elif root is not None:
            raise SupernetError(f"supernet watch takes one folder, not {str(root)[:60]!r} and {word[:60]!r}")
        else:
            root = Path(word).expanduser()
    root = root or Path("runs")
    if "\0" in str(root) or not root.is_dir():
        raise SupernetError(f"there is no folder {str(root)[:200]!r}; give the one that your runs lie in")
    return root, port


def _allowed(port: int) -> bool:
    return port == 0 or 1024 <= port <= 65535


STAGE = Stage(
    name="watch",
    help="show runs in the browser while they are at work",
    example="supernet watch runs/",
    run=run,
)
