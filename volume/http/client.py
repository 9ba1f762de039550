"""Requests to other servers: reads that are passed on, chunks, replicas.

Connections are kept and shared (docs/volume.md section 3). httpcore is imported at the first request:
it would slow the start, and a server alone never needs it.
"""

import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from less_sync.volume.format.checksums import Bytes

if TYPE_CHECKING:
    import ssl

    import httpcore

CONNECTIONS_MAX: Final = 1024
IDLE_S_MAX: Final = 90.0
WAIT_S_MAX: Final = 30.0
"""For a connection, for the head of an answer, and for each further piece of either side."""
ANSWER_BYTES_MAX: Final = 1 << 20
"""Of an answer that is read whole."""
REDIRECTS_MAX: Final = 10
_PIECE_BYTES: Final = 256 << 10
_SECRETS: Final = frozenset({b"authorization", b"cookie", b"cookie2", b"www-authenticate"})
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

Headers = Sequence[tuple[bytes, bytes]]


class OutgoingError(Exception):
    """No answer came; the text says why as existing servers word it, without the URL."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer read whole: at most `ANSWER_BYTES_MAX` of its body, what is behind is cut off."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)


class Incoming:
    """An answer whose body is still on its way. Whoever has it closes it, whatever happens."""

    def __init__(self, response: "httpcore.Response") -> None:
        self.status: Final = response.status
        self.headers: Final[Headers] = response.headers
        """As they came: names in the sender's capitals."""
        self._response: Final = response

    def header(self, name: bytes) -> bytes | None:
        """The first one of that name, given in lower case."""
        return next((value for known, value in self.headers if known.lower() == name), None)

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body as it arrives, read no faster than it is taken.

        Raises:
            OutgoingError: the connection broke or fell silent.
        """
        try:
            async for piece in self._response.aiter_stream():
                yield piece
        except Exception as fault:
            raise _outgoing(fault) from fault

    async def read(self, bytes_max: int = ANSWER_BYTES_MAX) -> bytes:
        """The body up to `bytes_max`; what is behind is not read."""
        collected = bytearray()
        async with aclosing(self.pieces()) as pieces:
            async for piece in pieces:
                collected += piece
                if len(collected) >= bytes_max:
                    break
        return bytes(collected[:bytes_max])

    async def close(self) -> None:
        """Give the connection back; it is closed unless the whole body was read."""
        await self._response.aclose()


class OutgoingHttp:
    """One pool for all of them.

    Args:
        tls: what the other side is spoken to with; None is plain HTTP.
        source: the local address that connections leave from; empty lets the system choose.
    """

    def __init__(self, *, tls: "ssl.SSLContext | None" = None, source: str = "") -> None:
        self._tls: Final = tls
        self._source: Final = source
        self._pool: httpcore.AsyncConnectionPool | None = None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if self._tls else "http"

    async def get_stream(self, place: str, target: str, headers: Headers = ()) -> Incoming:
        """GET from `host:port`; redirects are followed, up to `REDIRECTS_MAX`. The caller closes the answer.

        Raises:
            OutgoingError: no answer came within `WAIT_S_MAX`.
        """
        for _ in range(REDIRECTS_MAX):
            incoming = await self._send("GET", place, target, headers)
            location = incoming.header(b"location")
            if incoming.status not in _REDIRECTS or location is None:
                return incoming
            await incoming.close()
            former = place
            place, target = _redirected(place, target, location)
            if _split(place, self.scheme)[0] != _split(former, self.scheme)[0]:
                # What a client has to show to one host is none of another's business.
                headers = [header for header in headers if header[0].lower() not in _SECRETS]
        raise OutgoingError(f"stopped after {REDIRECTS_MAX} redirects")

    async def post(self, place: str, target: str, headers: Headers, parts: Sequence[Bytes]) -> Answer:
        """POST a body made of `parts`, none of which is copied whole, and read the answer.

        Raises:
            OutgoingError: no answer came.
        """
        return await _whole(await self._send("POST", place, target, headers, parts))

    async def delete(self, place: str, target: str, headers: Headers = ()) -> Answer:
        """DELETE, and read the answer.

        Raises:
            OutgoingError: no answer came.
        """
        return await _whole(await self._send("DELETE", place, target, headers))

    async def close(self) -> None:
        """Close all connections; running requests fail."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def _send(
        self, method: str, place: str, target: str, headers: Headers, parts: Sequence[Bytes] = ()
    ) -> Incoming:
        """One request, repeated once if the connection ended before an answer began.

        A kept connection may be closed by the other side just when it is used. All requests made here may
        arrive twice without harm: a replica finds the second write unchanged and the second delete done.
        """
        import httpcore

        for last in (False, True):
            request = self._request(method, place, target, headers, parts)
            try:
                return Incoming(await self._open_pool().handle_async_request(request))
            except (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError) as fault:
                if last:
                    raise _outgoing(fault, place) from fault
            except Exception as fault:
                raise _outgoing(fault, place) from fault
        raise AssertionError("both attempts ended without an answer or a fault")

    def _open_pool(self) -> "httpcore.AsyncConnectionPool":
        import httpcore

        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=self._tls,
                max_connections=CONNECTIONS_MAX,
                keepalive_expiry=IDLE_S_MAX,
                local_address=self._source or None,
            )
        return self._pool

    def _request(
        self, method: str, place: str, target: str, headers: Headers, parts: Sequence[Bytes]
    ) -> "httpcore.Request":
        import httpcore

        host, port = _split(place, self.scheme)
        sent = [(b"Host", place.encode()), *headers]
        if method == "POST":
            sent.append((b"Content-Length", str(sum(len(part) for part in parts)).encode()))
        return httpcore.Request(
            method,
            httpcore.URL(scheme=self.scheme, host=host, port=port, target=target.encode("latin-1")),
            headers=sent,
            content=_sliced(parts) if parts else None,
            extensions={"timeout": dict.fromkeys(("connect", "read", "write", "pool"), WAIT_S_MAX)},
        )


async def _sliced(parts: Sequence[Bytes]) -> AsyncIterator[bytes]:
    """Small enough that what is copied on the way to the socket stays bounded."""
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), _PIECE_BYTES):
            yield view[at : at + _PIECE_BYTES]  # type: ignore[misc]  # h11 takes whatever bytes.join takes


async def _whole(incoming: Incoming) -> Answer:
    try:
        return Answer(incoming.status, incoming.headers, await incoming.read())
    finally:
        await incoming.close()


def _split(place: str, scheme: str) -> tuple[str, int]:
    host, colon, port = place.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        return place, 443 if scheme == "https" else 80
    return host.removeprefix("[").removesuffix("]"), int(port)


def _redirected(place: str, target: str, location: bytes) -> tuple[str, str]:
    """Where a `Location` points to. The scheme is always ours: servers of one cluster speak the same.

    Raises:
        OutgoingError: to nothing.
    """
    try:
        url = urlsplit(urljoin(f"http://{place}{target}", location.decode("latin-1")))
    except ValueError as fault:
        raise OutgoingError("failed to parse Location header") from fault
    return url.netloc or place, url._replace(scheme="", netloc="", fragment="").geturl() or "/"


def _outgoing(fault: Exception, place: str = "") -> OutgoingError:
    """Word a failure of httpcore; any other exception is a defect and passes through unchanged."""
    import httpcore

    match fault:
        case httpcore.ConnectError():
            return OutgoingError(f"dial tcp {place}: connect: {_reason(fault)}")
        case httpcore.ConnectTimeout():
            return OutgoingError(f"dial tcp {place}: i/o timeout")
        case httpcore.PoolTimeout():
            return OutgoingError("no free connection")
        case httpcore.TimeoutException():
            return OutgoingError("net/http: timeout awaiting response headers")
        case httpcore.RemoteProtocolError():
            return OutgoingError("EOF")
        case httpcore.NetworkError() | httpcore.ProtocolError() | OSError():
            return OutgoingError(_reason(fault))
    raise fault


def _reason(fault: BaseException) -> str:
    """The system's words for the error at the root."""
    cause: BaseException | None = fault
    while cause is not None:
        if isinstance(cause, ExceptionGroup):
            cause = cause.exceptions[0]
            continue
        if isinstance(cause, socket.gaierror):
            return "no such host"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()
        cause = cause.__cause__ or cause.__context__
    return str(fault) or type(fault).__name__
