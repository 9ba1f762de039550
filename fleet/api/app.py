"""The ASGI application: what surrounds every route, outermost first (docs/fleet.md 3).

Request id, log line and metrics; common and CORS headers, preflight; the route that the path means;
authentication and rights; the body; the time limit; errors. An unknown path is 401 without credentials and
404 with any, as on a sync server.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import msgspec
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from less_sync.fleet.api import (
    agents,
    alerts,
    audit,
    enrolment,
    health,
    pages,
    sessions,
    stats,
    users,
    webhooks,
)
from less_sync.fleet.api.auth import Authenticator
from less_sync.fleet.api.call import ANONYMOUS, Answer, Call
from less_sync.fleet.api.rights import RIGHTS
from less_sync.fleet.api.routing import Place, Route, Router
from less_sync.fleet.errors import Refused
from less_sync.storage import LOCK_NOT_AVAILABLE, REPEATABLE, StorageError, Unavailable

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

BODY_STALL_S: Final = 10.0
"""How long each piece of a body may take to come."""
UNKNOWN_BYTES_MAX: Final = 8 * 1024
"""Held of the body of a caller who is not known, so that ten thousand of them hold 80 MiB."""
UNAVAILABLE_RETRY_S: Final = 5
BUSY_RETRY_S: Final = 1
_PASSING: Final = REPEATABLE | {LOCK_NOT_AVAILABLE, "0A000"}
"""Faults of a database that undid everything and may do it when asked again. The last is what a prepared
statement meets in a transaction after a migration of a later release (PostgreSQL: feature not supported)."""
_COMMON: Final = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_CORS_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_CORS_HEADERS: Final = b"Authorization, Content-Type, X-Management-Key, X-CSRF-Token, X-Request-Id"
_log = structlog.get_logger(__name__)

FAMILIES: Final = (health, agents, enrolment, stats, alerts, webhooks, sessions, users, audit, pages)


def all_routes() -> list[Route]:
    """The routes of all families."""
    return [route for family in FAMILIES for route in family.ROUTES]


def create_app(plane: "Plane") -> ASGIApp:
    """The application of one instance.

    Raises:
        RuntimeError: a route has no row in the table of rights.
    """
    return FleetApp(plane, all_routes())


class FleetApp:
    """Answers HTTP requests of ASGI 3. A call is not cut short when its client hangs up."""

    def __init__(self, plane: "Plane", routes: Sequence[Route]) -> None:
        if unruled := {(route.method, route.path) for route in routes} - RIGHTS.keys():
            raise RuntimeError(f"routes without a row in the table of rights: {sorted(unruled)}")
        self._plane = plane
        self._router = Router(routes)
        self._authenticator = Authenticator(plane)
        self._limit_s = plane.settings.request_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started_at_s = time.perf_counter()
        headers = _joined(scope["headers"])
        method, path = scope["method"], scope["path"]
        request_id = _request_id(headers.get(b"x-request-id"))
        place, params = self._router.find(path)
        call = Call(
            method,
            path,
            params,
            scope["query_string"],
            headers,
            request_id,
            self._address(scope, headers),
            ANONYMOUS,
        )
        if method == "OPTIONS" and b"origin" in headers and b"access-control-request-method" in headers:
            answer = Answer(204)
        else:
            answer = await self._answer(call, place, receive)
        await self._send(call, answer, send)
        self._tell(call, place, answer.status, time.perf_counter() - started_at_s)

    async def _answer(self, call: Call, place: Place | None, receive: Receive) -> Answer:
        try:
            async with asyncio.timeout(self._limit_s) as limit:
                return await self._routed(call, place, receive)
        except Refused as refused:
            return _refusal(call, self._authenticator.counted(refused, call.address))
        except TimeoutError as fault:
            # One of the route's own is a fault like any other.
            if limit.expired():
                return _refusal(call, Refused(504, "request timed out"))
            return self._failed(call, fault)
        except Unavailable:
            return _refusal(call, Refused(503, "database unavailable", retry_after_s=UNAVAILABLE_RETRY_S))
        except StorageError as error:
            if error.sqlstate not in _PASSING:
                return self._failed(call, error.__cause__ or error)
            _log.warning("request undone", request_id=str(call.request_id), fault=str(error))
            return _refusal(call, Refused(503, "database busy", retry_after_s=BUSY_RETRY_S))
        except Exception as error:
            return self._failed(call, error)

    def _failed(self, call: Call, fault: BaseException) -> Answer:
        """What nobody foresaw: told whole in the log, and to the client not at all."""
        _log.error("request failed", request_id=str(call.request_id), exc_info=fault)
        return _refusal(call, Refused(500, "internal error"))

    async def _routed(self, call: Call, place: Place | None, receive: Receive) -> Answer:
        route = None
        if place is not None:
            route = place.routes.get("GET" if call.method == "HEAD" else call.method)
        call.actor = await self._authenticator.actor(
            None if route is None else RIGHTS[route.method, route.path],
            call.params,
            method=call.method,
            headers=call.headers,
        )
        if place is None:
            raise Refused(404, "not found")
        if route is None:
            raise Refused(405, "method not allowed", allow=place.allowed)
        try:
            if route.method != "GET":
                known = None if route.credentials is None else partial(route.credentials, self._plane, call)
                call.body = await _body(call.headers, receive, route.body_bytes_max, known)
            return await route.handler(self._plane, call)
        except Refused as refused:
            if route.credentials is None or refused.status == 429:
                raise
            await route.credentials(self._plane, call)
            raise

    def _address(self, scope: Scope, headers: Mapping[bytes, bytes]) -> str | None:
        """The client's, as the nearest proxy tells it if that is trusted."""
        client = scope.get("client")
        peer = None if client is None else _ip(client[0])
        if peer is None or not any(peer in network for network in self._plane.settings.trusted_proxies):
            return None if peer is None else str(peer)
        told = _ip(headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip())
        return str(peer if told is None else told)

    async def _send(self, call: Call, answer: Answer, send: Send) -> None:
        headers = [(b"x-request-id", str(call.request_id).encode()), *_COMMON, *self._cors(call)]
        content = answer.content
        body = (
            content
            if isinstance(content, bytes)
            else b""
            if content is None
            else msgspec.json.encode(content)
        )
        own = {name.lower() for name, _ in answer.headers}
        headers = [pair for pair in headers if pair[0].decode() not in own]
        headers += [(name.lower().encode(), text.encode("latin-1")) for name, text in answer.headers]
        if content is not None and not isinstance(content, bytes):
            headers.append((b"content-type", b"application/json"))
        if answer.status not in (204, 304):
            headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else body})

    def _cors(self, call: Call) -> list[tuple[bytes, bytes]]:
        allowed, origin = self._plane.settings.cors_origins, call.headers.get(b"origin")
        if not allowed or origin is None:
            return []
        everybody = allowed == ("*",)
        if not everybody and origin.decode("latin-1") not in allowed:
            return [(b"vary", b"Origin")]
        headers = [
            (b"access-control-allow-origin", b"*" if everybody else origin),
            (b"access-control-expose-headers", b"X-Request-Id, Retry-After"),
        ]
        if not everybody:
            headers += [(b"access-control-allow-credentials", b"true"), (b"vary", b"Origin")]
        if call.method == "OPTIONS":
            headers += [
                (b"access-control-allow-methods", _CORS_METHODS),
                (b"access-control-allow-headers", _CORS_HEADERS),
                (b"access-control-max-age", b"600"),
            ]
        return headers

    def _tell(self, call: Call, place: Place | None, status: int, took_s: float) -> None:
        """One line a request; never what follows the question mark, a body, a header or a key."""
        template = "-" if place is None else place.path
        route = None if place is None else place.routes.get(call.method)
        quiet = route is not None and route.quiet and status < 400
        self._plane.metrics.http_answered(template, status, took_s)
        write = _log.debug if quiet else _log.info
        write(
            "request",
            method=call.method,
            route=template,
            status=status,
            ms=round(took_s * 1000, 1),
            actor=call.actor.name,
            request_id=str(call.request_id),
            **dict(call.stated),
        )


def _joined(sent: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; one that came more than once is its lines joined, in which no credential is found.

    So nothing depends on whether a proxy judged by the first of two and this by the last (RFC 9110 5.3).
    """
    headers: dict[bytes, bytes] = {}
    for name, text in sent:
        before = headers.get(name)
        separator = b"; " if name == b"cookie" else b", "
        headers[name] = text if before is None else before + separator + text
    return headers


def _ip(text: str) -> "IPv4Address | IPv6Address | None":
    """An address without its zone; an IPv4 one that came through an IPv6 socket as what it is."""
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def _request_id(sent: bytes | None) -> UUID:
    if sent is not None and len(sent) == 36:
        try:
            return UUID(sent.decode("latin-1"))
        except ValueError:
            pass
    return uuid4()


async def _body(
    headers: Mapping[bytes, bytes],
    receive: Receive,
    bytes_max: int,
    known: Callable[[], Awaitable[None]] | None,
) -> bytes:
    """A body of at most `bytes_max`, held whole.

    Args:
        known: refuses a caller whose credentials nobody has looked at yet; None for all others.

    Raises:
        Refused: 413, 415, or 400 for one that does not come; what `known` raises.
    """
    too_large = Refused(413, f"body too large: at most {bytes_max} bytes")
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length[:20]) > bytes_max:
        raise too_large
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout(BODY_STALL_S):
                message = await receive()
        except TimeoutError:
            raise Refused(400, "the body did not come", code="invalid_json") from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "the body ended early", code="invalid_json")
        piece = message.get("body", b"")
        size += len(piece)
        if size > bytes_max:
            raise too_large
        if known is not None and size > UNKNOWN_BYTES_MAX:
            await known()
            known = None
        pieces.append(piece)
        more = message.get("more_body", False)
    if size:
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            raise Refused(415, "unsupported media type: expected application/json")
    return b"".join(pieces)


def _refusal(call: Call, refused: Refused) -> Answer:
    content: dict[str, object] = {
        "error": refused.text,
        "code": refused.code,
        "request_id": str(call.request_id),
    }
    if refused.fields:
        content["fields"] = [{"field": one.field, "message": one.message} for one in refused.fields]
    headers: list[tuple[str, str]] = []
    if refused.retry_after_s is not None:
        headers.append(("Retry-After", str(refused.retry_after_s)))
    if refused.allow:
        headers.append(("Allow", ", ".join(refused.allow)))
    return Answer(refused.status, content, headers)
