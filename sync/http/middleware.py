"""What surrounds every HTTP route, outermost first: the log line, the common headers, authentication.

All three are plain ASGI middleware, so that bodies stream through them untouched.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import structlog
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from less_sync.auth import AuthError
from less_sync.storage import StorageError
from less_sync.sync.access.sign_in import Authenticator, auth_failure
from less_sync.sync.forwarding import HomeFault
from less_sync.sync.http.headers import CROSS_ORIGIN
from less_sync.sync.http.paths import FILE_PATH, PEER_FILE_PATH
from less_sync.sync.http.upgrade import Refusal
from less_sync.sync.metrics import OTHER, Recorder

PUBLIC_PATHS: Final = frozenset({"/health", "/api/v1/ws", "/.well-known/jwks.json", "/api/v1/federation/ws"})
"""Raw paths that need no credentials. Everything else does, unknown paths too (docs/operations.md 4.3)."""
UCAN_HEADER_BYTES_MAX: Final = 65_536
UCAN_TOO_LARGE: Final = "X-UCAN header too large"
RETRY_AFTER_S: Final = 5
FILE_TEMPLATES: Final = frozenset({FILE_PATH.text, PEER_FILE_PATH.text})
"""Routes whose bodies are contents of files."""

_PRINTABLE: Final = re.compile(r"[\t\x20-\x7e]*\Z")
_log = structlog.get_logger(__name__)


class RequestLog:
    """One line per finished request: method, route template, status, duration, bytes, a random request id.

    Never the path itself, which may hold ids, nor who asked. `/health` is logged at DEBUG.

    Args:
        recorder: counts the requests.
        template: that of a raw path's route; None if there is no such path.
    """

    def __init__(
        self, app: ASGIApp, *, recorder: Callable[[], Recorder], template: Callable[[bytes], str | None]
    ) -> None:
        self._app = app
        self._recorder = recorder
        self._template = template

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_at_s = time.perf_counter()
        request_id = uuid4().hex[:16]
        scope["request_id"] = request_id
        status = "aborted"
        bytes_in = bytes_out = 0
        whole = False

        async def counting_receive() -> Message:
            nonlocal bytes_in
            message = await receive()
            bytes_in += len(message.get("body", b""))
            return message

        async def counting_send(message: Message) -> None:
            nonlocal status, bytes_out, whole
            await send(message)
            if message["type"] == "http.response.start":
                status = str(message["status"])
            else:
                whole = not message.get("more_body", False)
            bytes_out += len(message.get("body", b""))

        try:
            await self._app(scope, counting_receive, counting_send)
        finally:
            route = getattr(scope.get("route"), "path", "-")
            write = _log.debug if route == "/health" else _log.info
            write(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                duration_ms=round((time.perf_counter() - started_at_s) * 1000, 1),
                bytes_in=bytes_in,
                bytes_out=bytes_out,
                request_id=request_id,
            )
            self._count(scope, status, bytes_in, bytes_out, whole=whole)

    def _count(self, scope: Scope, status: str, bytes_in: int, bytes_out: int, *, whole: bool) -> None:
        """What was refused before it came to its route is counted under that all the same."""
        recorder, template = self._recorder(), self._template(scope["raw_path"])
        recorder.http_answered(template or OTHER, status)
        if template in FILE_TEMPLATES:
            if scope["method"] == "PUT":
                recorder.files_in.add(bytes_in, whole=status in ("201", "204"))
            elif scope["method"] == "GET" and status == "200":
                recorder.files_out.add(bytes_out, whole=whole)


class CommonHeaders:
    """Puts the common headers on every response, answers OPTIONS, and turns a fault into a 500.

    Paths are matched as they were sent, so the decoded `path` that uvicorn offers is replaced by the raw one.

    Args:
        allowed: what `Allow` says of a raw path; None if there is no such path.
        same_origin: whether the answers of a raw path, that to OPTIONS included, are for our own pages alone.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        headers: list[tuple[bytes, bytes]],
        allowed: Callable[[bytes], str | None],
        same_origin: Callable[[bytes], bool] = lambda _path: False,
    ) -> None:
        self._app = app
        self._headers = headers
        self._headers_at_home = [pair for pair in headers if not pair[0].startswith(CROSS_ORIGIN.encode())]
        self._allowed = allowed
        self._same_origin = same_origin
        self._names = frozenset(name for name, _ in headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        headers = self._headers_at_home if self._same_origin(scope["raw_path"]) else self._headers

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [pair for pair in message.get("headers", ()) if pair[0].lower() not in self._names]
                message = {**message, "headers": own + headers}
            await send(message)

        if scope["method"] == "OPTIONS":
            allow = self._allowed(scope["raw_path"])
            response = Response(status_code=204, headers=None if allow is None else {"Allow": allow})
            await response(scope, receive, send_with_headers)
            return
        scope["path"] = scope["raw_path"].decode("latin-1")
        try:
            await self._app(scope, receive, send_with_headers)
        except asyncio.CancelledError:
            # The grace period of a stop is over. Unanswered, uvicorn would send a text of its own.
            if not started:
                await error_response(500, "internal error")(scope, receive, send_with_headers)
            raise
        except Exception as error:
            _log_failure(error, scope.get("request_id"))
            if started:
                raise  # the client must not take half a response for a whole one: the connection is closed
            await error_response(500, "internal error")(scope, receive, send_with_headers)


def _log_failure(error: Exception, request_id: str | None) -> None:
    """What an outage causes is told by its kind: it is no reason for a trace of each request."""
    if isinstance(error, HomeFault):
        _log.warning("a home server failed in the middle", request_id=request_id, fault=type(error).__name__)
    elif isinstance(error, StorageError):
        cause = type(error.__cause__).__name__
        _log.error("storage failed", request_id=request_id, error=str(error), cause=cause)
    else:
        _log.error("request failed", request_id=request_id, exc_info=error)


class Authentication:
    """Lets a request through to the routes only with a valid bearer token, unless its path is public.

    The caller is `request.state.identity` below. The body is not touched before.

    Args:
        guards_itself: whether what serves a raw path finds out by other means who asks.
    """

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, guards_itself: Callable[[bytes], bool]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._guards_itself = guards_itself

    def _is_public(self, scope: Scope) -> bool:
        return scope["path"] in PUBLIC_PATHS or self._guards_itself(scope["raw_path"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_public(scope):
            refusal = await self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refusal(self, scope: Scope) -> Response | None:
        """The answer of the first failed check in the order of docs/operations.md 4.3, or None."""
        headers = Headers(scope=scope)
        authorization = headers.get("authorization")
        if authorization is None:
            return error_response(401, "missing authorization")
        # The scheme's letter case is free (RFC 9110 11.1); exactly one space is consumed.
        if not _PRINTABLE.match(authorization) or authorization[:7].lower() != "bearer ":
            return error_response(401, "invalid authorization header format")
        try:
            did_proof = headers.get("x-did-proof", "")
            identity = await self._authenticator.identify(authorization[7:], did_proof)
        except AuthError as error:
            failure = auth_failure(error)
            retry = {"Retry-After": str(RETRY_AFTER_S)} if failure.http_status == 503 else None
            return error_response(failure.http_status, failure.http_error, retry)
        if len(headers.get("x-ucan", "")) > UCAN_HEADER_BYTES_MAX:
            return error_response(401, UCAN_TOO_LARGE)
        scope.setdefault("state", {})["identity"] = identity
        return None


def refusal_response(refusal: Refusal) -> Response:
    """The refusal of a gate, or of an upgrade, as a plain answer."""
    headers = None if refusal.allow is None else {"Allow": refusal.allow}
    if refusal.text is None:
        return Response(status_code=refusal.status, headers=headers)
    return PlainTextResponse(refusal.text, status_code=refusal.status, headers=headers)


def error_response(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    """`{"error": ...}`, compact (docs/operations.md 4.4)."""
    return JSONResponse({"error": error}, status_code=status, headers=headers)
