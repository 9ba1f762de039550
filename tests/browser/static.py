"""Serves the client's modules, and a page of a test's own, as they are: there is no build step in between."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from tests.node import CLIENT

_SOURCE: Final = CLIENT / "src"
POLICY: Final = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:"
_TYPES: Final = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8"}
BLANK: Final = (
    '<!doctype html><html lang="en"><title>test</title><link rel="icon" href="data:,"><p>test</p></html>'
)


class _Pages(BaseHTTPRequestHandler):
    """Answers GET with what is found by path and query."""

    def __init__(self, find: Callable[[str], bytes | None], policy: str, *arguments: object) -> None:
        self.find, self.policy = find, policy
        super().__init__(*arguments)  # type: ignore[arg-type]  # as the server passes them

    def do_GET(self) -> None:
        """A file, or 404."""
        found = self.find(self.path)
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", _TYPES["js" if self.path.endswith(".js") else "html"])
        self.send_header("Content-Security-Policy", self.policy)
        self.send_header("Content-Length", str(len(found or b"")))
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def static_server(
    find: Callable[[str], bytes | None] = lambda path: None, *, policy: str = POLICY
) -> Iterator[str]:
    """Serve a blank page at `/`, the client's modules below `/client/` and what `find` gives; yield where.

    Args:
        find: the content of a path with its query, asked first, in a thread.
        policy: the Content-Security-Policy of all of them.
    """
    modules = {f"/client/{path.relative_to(_SOURCE)}": path.read_bytes() for path in _SOURCE.rglob("*.js")}
    files = {"/": BLANK.encode(), **modules}

    def found(path: str) -> bytes | None:
        own = find(path)
        return files.get(path) if own is None else own

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Pages, found, policy)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
