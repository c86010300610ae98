"""The server of `supernet watch`: Werkzeug's, which TensorBoard brings along, on the loopback address alone."""

import socket
from pathlib import Path

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from ...errors import SupernetError
from .app import Watch

__all__ = ["open_server", "serve"]

HERE = "127.0.0.1"


class _Quiet(WSGIRequestHandler):
    """Prints no line a request: what is asked for could steer a terminal. A silent asker is dropped after a while."""

    timeout = 20

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing is printed."""


def open_server(root: Path, port: int) -> BaseWSGIServer:
    """A server that listens already; port 0 takes any. Raises SupernetError for a port that is taken."""
    try:
        listening = socket.create_server((HERE, port))
    except OSError as error:
        raise SupernetError(f"port {port} cannot be used ({error.strerror}); port=0 takes any that is free") from None
    with listening:  # the server has a descriptor of its own
        return make_server(
            HERE, listening.getsockname()[1], Watch(root), threaded=True, request_handler=_Quiet, fd=listening.fileno()
        )


def serve(root: Path, port: int) -> None:
    """Answers until Ctrl-C."""
    server = open_server(root, port)
    print(f"{root} at http://{HERE}:{server.port}/  (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.server_close()
