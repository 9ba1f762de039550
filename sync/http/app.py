"""The HTTP side: `create_app` makes the routes that are no WebSockets, and what surrounds them.

Order of every request: log line, common headers and preflight, authentication, routing. So an unknown path is
401 without credentials and 404 with them (docs/operations.md 4.2).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from less_sync.sync.http.files import FileEndpoint
from less_sync.sync.http.headers import common_headers
from less_sync.sync.http.health import HealthProbe
from less_sync.sync.http.middleware import Authentication, CommonHeaders, RequestLog, refusal_response
from less_sync.sync.http.paths import FILE_PATH, PathTemplate
from less_sync.sync.http.routing import (
    Methods,
    RawRoute,
    guards_itself,
    is_same_origin,
    methods_allowed,
    template_of,
)
from less_sync.sync.http.upgrade import ALLOW, CANNOT_UPGRADE, Refusal, UpgradeRequest, refusal
from less_sync.sync.live.measured import bus_connected
from less_sync.sync.services import Services

JWKS_CACHE_CONTROL: Final = "public, max-age=3600, stale-while-revalidate=86400"


class FederationRoutes(Protocol):
    """What HTTP tells of other servers (docs/federation.md 11)."""

    @property
    def routes(self) -> Sequence[RawRoute]:
        """The routes about peers and our own keys."""

    def health(self) -> Mapping[str, Any] | None:
        """The member `federation` of a healthy answer; None while no peer is accepted."""


def create_app(
    services: Services,
    *,
    expose_etag: bool = False,
    federation: FederationRoutes | None = None,
    pages: Sequence[RawRoute] = (),
) -> Starlette:
    """The ASGI application for every request that is not upgraded to a WebSocket.

    Args:
        pages: what a browser is shown here, beside the protocol.
    """
    probe = HealthProbe(lambda: services.spaces.ping())

    async def health(_request: Request) -> Response:
        if services.draining:
            return _unhealthy("shutting down")
        if not await probe.healthy():
            return _unhealthy("database unavailable")
        peers = None if federation is None else federation.health()
        more = {"federation": peers, "cluster": _cluster(services)}
        return JSONResponse(
            {"status": "healthy"} | {name: part for name, part in more.items() if part is not None}
        )

    routes = [
        RawRoute(PathTemplate("/health"), Methods({"GET": health})),
        RawRoute(PathTemplate("/api/v1/ws"), NotUpgraded(services, otherwise=CANNOT_UPGRADE)),
        # Where peers are accepted, the socket serves what passes the checks.
        RawRoute(PathTemplate("/api/v1/federation/ws"), NotUpgraded(services, otherwise=Refusal(404))),
        *(ALONE if federation is None else federation.routes),
        *pages,
    ]
    if services.files is not None:
        routes.append(RawRoute(FILE_PATH, FileEndpoint(services, services.files)))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestLog, recorder=lambda: services.metrics, template=partial(template_of, routes)),
            Middleware(
                CommonHeaders,
                headers=common_headers(expose_etag=expose_etag),
                allowed=partial(methods_allowed, routes),
                same_origin=partial(is_same_origin, routes),
            ),
            Middleware(
                Authentication,
                authenticator=services.authenticator,
                guards_itself=partial(guards_itself, routes),
            ),
        ],
        exception_handlers={HTTPException: _empty_response},
    )
    app.router.redirect_slashes = False
    return app


class NotUpgraded:
    """A WebSocket route, for requests that did not become WebSockets: says by the table of checks why.

    Args:
        otherwise: the answer to a request that passes them all.
    """

    allow = ALLOW

    def __init__(self, services: Services, *, otherwise: Refusal) -> None:
        self._services = services
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = UpgradeRequest(
            scope["method"], scope["http_version"], scope["headers"], self._services.subprotocols
        )
        refused = refusal(request) or self._otherwise
        self._services.metrics.upgrade_refused(refused.status)
        response = refusal_response(refused)
        await response(scope, receive, send)


async def _no_keys(_request: Request) -> Response:
    return JSONResponse({"keys": []}, headers={"Cache-Control": JWKS_CACHE_CONTROL})


ALONE: Final = (RawRoute(PathTemplate("/.well-known/jwks.json"), Methods({"GET": _no_keys})),)
"""What a server without federation tells of its keys: that there are none."""


def _cluster(services: Services) -> Mapping[str, Any] | None:
    """Which node this is and whether it hears others at once; None on a server that is no node of several.

    Without its bus a server is healthy: what is stored by others arrives by the comparison.
    """
    told: dict[str, Any] = {}
    if services.node_name is not None:
        told["node"] = services.node_name
    if (connected := bus_connected(services.metrics)) is not None:
        told["bus"] = "connected" if connected else "away"
    return told or None


def _unhealthy(error: str) -> Response:
    return JSONResponse({"status": "unhealthy", "error": error}, status_code=503)


def _empty_response(_request: Request, error: Exception) -> Response:
    """What the router itself refuses, an unknown path, has no body."""
    return Response(status_code=error.status_code if isinstance(error, HTTPException) else 500)
