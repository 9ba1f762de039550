"""The routes of the admin listener: one table of paths and methods (docs/operations.md 12.2)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from less_sync.bins.admin.access import Access, Refused
from less_sync.bins.admin.console import Console
from less_sync.bins.admin.metrics import CONTENT_TYPE
from less_sync.bins.admin.operated import Operated, Told, Watched
from less_sync.bins.admin.readiness import Status
from less_sync.bins.pages.assets import Asset, assets_in
from less_sync.bins.settings.parts import LOG_LEVELS, ListenAddress

READING: Final = frozenset({"GET", "HEAD"})
REFUSED_LINE_EVERY_S: Final = 60.0

_PAGE: Final = {"index.html": "/"}
"""Files of the console that have another path than `/console/NAME`."""
_log = structlog.get_logger(__name__)

Handler = Callable[[], Awaitable[Response]]


Routes = Mapping[str, Mapping[str, Handler]]
"""Handlers by path and method."""


class AdminApp:
    """The ASGI application of the listener. No request's body is read.

    Args:
        page: what anybody may read, by path.
        more: what this listener has beside what all have.
    """

    def __init__(
        self,
        access: Access,
        watched: Watched,
        *,
        page: Mapping[str, Asset] | None = None,
        more: Routes | None = None,
    ) -> None:
        self._access = access
        self._watched = watched
        self._page: Final = page or {}
        self._quiet_until_s = 0.0
        self._routes: Final[Routes] = {
            "/metrics": _readable(self._show_metrics),
            "/healthz": _readable(self._say_alive),
            "/readyz": _readable(self._say_ready),
            **{
                f"/log-level/{level}": {"POST": partial(_told, partial(watched.log_at, level))}
                for level in LOG_LEVELS
            },
            **(more or {}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            response = await self._answer(request)
        except Exception:  # what is wrong with one answer is nothing to the others
            _log.exception("an answer of the admin listener failed")
            response = _refusal(Refused(500, "internal error"))
        response.headers.setdefault("cache-control", "no-store")
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        # The page holds nothing but what anybody can read in this program, and a browser that opens it
        # cannot send the token yet. What it shows comes by the routes.
        asset = self._page.get(request.scope["path"])
        if asset is not None and request.method in READING:
            return asset.response(request)
        if (refused := self._access.reading(request.headers)) is not None:
            return self._turned_away(request, refused)
        methods = self._routes.get(request.scope["path"])
        if methods is None:
            return _refusal(Refused(404, "not found"))
        handler = methods.get(request.method)
        if handler is None:
            response = _refusal(Refused(405, "method not allowed"))
            response.headers["allow"] = ", ".join(methods)
            return response
        if request.method not in READING:
            host, port = request.scope["server"]
            refused = self._access.acting(request.headers, ListenAddress(host, port))
            if refused is not None:
                return self._turned_away(request, refused)
        return await handler()

    def _turned_away(self, request: Request, refused: Refused) -> Response:
        """Of actions there is a line a minute: any page in a browser on this machine can ask all the time."""
        now_s = asyncio.get_running_loop().time()
        if request.method not in READING and now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + REFUSED_LINE_EVERY_S
            _log.warning("an action at the admin listener was refused", error=refused.error)
        return _refusal(refused)

    async def _show_metrics(self) -> Response:
        return Response(await self._watched.metrics(), media_type=CONTENT_TYPE)

    async def _say_alive(self) -> Response:
        return JSONResponse({"status": "alive"})

    async def _say_ready(self) -> Response:
        report = await self._watched.ready()
        # Degraded too: who is sent to a server that does not deliver sees nothing of what others write.
        return JSONResponse(report.body, status_code=200 if report.status is Status.READY else 503)


def operator_routes(operated: Operated, console: Console) -> Routes:
    """What can be done to a server that has sessions, and what its console is told."""

    async def show_events() -> Response:
        response = console.response()
        return _refusal(Refused(503, "too many consoles are open")) if response is None else response

    drain, take_back = partial(_told, operated.drain), partial(_told, operated.take_drain_back)
    return {"/drain": {"POST": drain, "DELETE": take_back}, "/events": {"GET": show_events}}


def console_page() -> Mapping[str, Asset]:
    """The files of the console by path."""
    return {_PAGE.get(path, f"/console/{path}"): it for path, it in assets_in("console").items()}


async def _told(action: Callable[[], Awaitable[Told]]) -> Response:
    status, body = await action()
    return JSONResponse(body, status_code=status)


def _readable(handler: Handler) -> dict[str, Handler]:
    return {"GET": handler, "HEAD": handler}


def _refusal(refused: Refused) -> Response:
    return JSONResponse({"error": refused.error}, status_code=refused.status)
