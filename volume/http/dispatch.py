"""Which handler answers a request, by path, method and port (docs/volume.md, section 3.1)."""

from collections.abc import Mapping
from typing import Final

from less_sync.volume.http.handlers import Handler, Immediate
from less_sync.volume.http.json_text import json_error
from less_sync.volume.http.paths import is_unclean
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response
from less_sync.volume.http.static_files import FAVICON, STATIC, CleanHandler, StaticHandler

_CORS: Final = "Access-Control-Allow-Credentials: true\r\nAccess-Control-Allow-Origin: *\r\n"
_METHODS_HERE: Final = "PUT, POST, GET, DELETE, OPTIONS"
_METHODS_PUBLIC: Final = "GET, OPTIONS"


def server_line(server: str) -> str:
    """The header line that all answers have in common."""
    return f"Server: {server}\r\n"


class OptionsHandler(Immediate):
    """Says which methods there are."""

    def begin(self, request: Request) -> Response:
        """No body."""
        methods = _METHODS_PUBLIC if request.is_public else _METHODS_HERE
        return Response(
            200, [("Access-Control-Allow-Headers", "*"), ("Access-Control-Allow-Methods", methods)]
        )


class UnsupportedHandler(Immediate):
    """Refuses a method; on the public port every such request is answered with nothing at all."""

    def begin(self, request: Request) -> Response:
        """200 without a body in public, else an error."""
        if request.is_public:
            return Response(200)
        return json_error(request, 400, f"unsupported method {request.method}")


class Dispatch:
    """The routes of one listener.

    Args:
        server: the value of the header `Server`.
        pages: handlers of exact paths, whatever the method.
        methods: handlers of files, by method; others are unsupported.
    """

    def __init__(self, server: str, pages: Mapping[str, Handler], methods: Mapping[str, Handler]) -> None:
        self._server: Final = server_line(server)
        self._server_cors: Final = f"{_CORS}{self._server}"
        self._pages: Final = dict(pages)
        self._methods: Final = {**methods, "OPTIONS": OptionsHandler()}
        self._unsupported: Final = UnsupportedHandler()
        self._static: Final = StaticHandler()
        self._clean: Final = CleanHandler()

    def route(self, request: Request) -> Handler:
        """Choose a handler, and set what all its answers have in common."""
        path = request.path
        # Nearly every path is `/vid,fid`; one comparison decides for most whether it is anything else.
        if path.find("/", 1) >= 0 or path in self._pages or path in (FAVICON, STATIC):
            special = self._special(request)
            if special is not None:
                return special
        request.common = self._server if b"origin" not in request.fields else self._common(request)
        return self._methods.get(request.method, self._unsupported)

    def _special(self, request: Request) -> Handler | None:
        path = request.path
        if is_unclean(path) and request.method != "CONNECT":
            return self._clean
        if path == FAVICON or path.startswith(f"{STATIC}/"):
            return self._static
        if path == STATIC:
            return self._clean
        page = self._pages.get(path)
        if page is not None:
            request.common = self._server
        return page

    def _common(self, request: Request) -> str:
        return self._server_cors if request.fields[b"origin"] else self._server
