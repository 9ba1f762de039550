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

from less_sync.sync.http.files import FileEndpoint, FileRoute
from less_sync.sync.http.headers import common_headers
from less_sync.sync.http.health import HealthProbe
from less_sync.sync.http.middleware import Authentication, CommonHeaders, RequestLog
from less_sync.sync.http.upgrade import CANNOT_UPGRADE, Refusal, UpgradeRequest, refusal
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

    files = [] if services.files is None else [FileRoute(FileEndpoint(services, services.files))]
    app = Starlette(
        routes=[
            Route("/health", Methods({"GET": health})),
            Route("/.well-known/jwks.json", Methods({"GET": jwks})),
            Route("/api/v1/ws", NotUpgraded(services, otherwise=CANNOT_UPGRADE)),
            # Servers do not speak to each other yet.
            Route("/api/v1/federation/ws", NotUpgraded(services, otherwise=Refusal(404))),
            *files,
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
    """A route's handlers by method. GET answers HEAD too; any other method is 405 with an empty body."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = {**handlers, "HEAD": handlers["GET"]}
        self._allow = ",".join((*handlers, "HEAD"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            response = await handler(Request(scope, receive, send))
        else:
            response = Response(status_code=405, headers={"Allow": self._allow})
        await response(scope, receive, send)


class NotUpgraded:
    """A WebSocket route, for requests that did not become WebSockets: says by the table of checks why.

    Args:
        otherwise: the answer to a request that passes them all.
    """

    def __init__(self, services: Services, *, otherwise: Refusal) -> None:
        self._services = services
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = UpgradeRequest(
            scope["method"], scope["http_version"], scope["headers"], self._services.subprotocols
        )
        answer = refusal(request) or self._otherwise
        headers = None if answer.allow is None else {"Allow": answer.allow}
        if answer.text is None:
            response = Response(status_code=answer.status, headers=headers)
        else:
            response = PlainTextResponse(answer.text, status_code=answer.status, headers=headers)
        await response(scope, receive, send)


async def jwks(_request: Request) -> Response:
    """The server's own federation keys: none."""
    return JSONResponse({"keys": []}, headers={"Cache-Control": JWKS_CACHE_CONTROL})


def _unhealthy(error: str) -> Response:
    return JSONResponse({"status": "unhealthy", "error": error}, status_code=503)


def _empty_response(_request: Request, error: Exception) -> Response:
    """What the router itself refuses, an unknown path, has no body."""
    return Response(status_code=error.status_code if isinstance(error, HTTPException) else 500)
