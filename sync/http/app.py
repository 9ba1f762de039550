"""The HTTP side: `create_app` makes the routes that are no WebSockets, and what surrounds them.

Order of every request: log line, common headers and preflight, authentication, routing. So an unknown path is
401 without credentials and 404 with them (docs/operations.md 4.2).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from less_sync.sync.http.headers import common_headers
from less_sync.sync.http.health import HealthProbe
from less_sync.sync.http.middleware import Authentication, CommonHeaders, RequestLog
from less_sync.sync.services import Services

JWKS_CACHE_CONTROL: Final = "public, max-age=3600, stale-while-revalidate=86400"

Handler = Callable[[Request], Awaitable[Response]]


def create_app(services: Services, *, expose_etag: bool = False) -> Starlette:
    """The ASGI application for every request that is not upgraded to a WebSocket."""
    probe = HealthProbe(lambda: services.spaces.ping())

    async def health(_request: Request) -> Response:
        if services.draining:
            return _unhealthy("shutting down")
        return (
            JSONResponse({"status": "healthy"})
            if await probe.healthy()
            else _unhealthy("database unavailable")
        )

    async def client_socket(request: Request) -> Response:
        return not_upgraded(request) or PlainTextResponse("the connection cannot be upgraded", 426)

    async def peer_socket(request: Request) -> Response:
        return not_upgraded(request) or _subprotocol_missing(request, services) or Response(status_code=404)

    app = Starlette(
        routes=[
            Route("/health", Methods({"GET": health})),
            Route("/.well-known/jwks.json", Methods({"GET": jwks})),
            Route("/api/v1/ws", Methods({"GET": client_socket}, head=False)),
            Route("/api/v1/federation/ws", Methods({"GET": peer_socket}, head=False)),
        ],
        middleware=[
            Middleware(RequestLog),
            Middleware(CommonHeaders, headers=common_headers(expose_etag=expose_etag)),
            Middleware(Authentication, authenticator=services.authenticator),
        ],
        exception_handlers={HTTPException: _empty_response},
    )
    app.router.redirect_slashes = False
    return app


class Methods:
    """A route's handlers by method. GET answers HEAD too; any other method is 405 with an empty body.

    Args:
        head: False for the WebSocket routes, where HEAD is 405 as well, without `Allow`.
    """

    def __init__(self, handlers: Mapping[str, Handler], *, head: bool = True) -> None:
        self._handlers = {**handlers, "HEAD": handlers["GET"]} if head else dict(handlers)
        self._allow = ",".join((*handlers, "HEAD"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            response = await handler(Request(scope, receive, send))
        elif scope["method"] == "HEAD":
            response = PlainTextResponse(status_code=405)
        else:
            response = Response(status_code=405, headers={"Allow": self._allow})
        await response(scope, receive, send)


async def jwks(_request: Request) -> Response:
    """The server's own federation keys: none."""
    return JSONResponse({"keys": []}, headers={"Cache-Control": JWKS_CACHE_CONTROL})


def not_upgraded(request: Request) -> Response | None:
    """400 with the first reason why a GET of a WebSocket route is no upgrade (docs/protocol.md 2.1)."""
    headers = request.headers
    if "upgrade" not in headers.get("connection", "").lower():
        return PlainTextResponse("Connection header did not include 'upgrade'", 400)
    if headers.get("upgrade", "").lower() != "websocket":
        return PlainTextResponse("`Upgrade` header did not include 'websocket'", 400)
    if "sec-websocket-key" not in headers:
        return PlainTextResponse("`Sec-WebSocket-Key` header missing", 400)
    if headers.get("sec-websocket-version") != "13":
        return PlainTextResponse("`Sec-WebSocket-Version` header did not include '13'", 400)
    return None


def _subprotocol_missing(request: Request, services: Services) -> Response | None:
    lines = request.headers.getlist("sec-websocket-protocol")
    offered = {token.strip() for line in lines for token in line.split(",")}
    return None if offered & set(services.subprotocols) else Response(status_code=400)


def _unhealthy(error: str) -> Response:
    return JSONResponse({"status": "unhealthy", "error": error}, status_code=503)


def _empty_response(_request: Request, error: Exception) -> Response:
    """What the router itself refuses, an unknown path, has no body."""
    return Response(status_code=error.status_code if isinstance(error, HTTPException) else 500)
