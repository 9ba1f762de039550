"""One attempt to send a webhook: what is dialled, how long it may take, and what the answer means.

The host is looked up once, every address is judged, and the connection goes to one that was judged, so that a
name cannot change its mind in between. TLS and `Host` keep the name. No redirect is followed, and no proxy of
the environment is used: either would dial what nobody looked at.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

import h11

from less_sync.fleet.settings import Network
from less_sync.fleet.webhooks.names import Resolver, SystemResolver
from less_sync.fleet.webhooks.urls import BadUrl, Target, may_dial, parse_url

CONNECT_S: Final = 5.0
"""For looking up the name and connecting, TLS included."""
BODY_S: Final = 2.0
"""For the rest of an answer whose status is known: it is wanted for the record alone."""
HEAD_BYTES_MAX: Final = 32 * 1_024
BODY_BYTES_MAX: Final = 4 * 1_024
"""Read of an answer's body."""
KEPT_BYTES_MAX: Final = 1_024
"""Kept of it."""
RETRY_AFTER_S: Final = 60
"""Of an answer that asks for patience without a number."""
RETRY_AFTER_S_MIN: Final = 1
RETRY_AFTER_S_MAX: Final = 24 * 3_600

_THROTTLING: Final = frozenset({429, 502, 503, 504})
_GONE: Final = 410
_SECONDS: Final = re.compile(r"[0-9]{1,12}")


Dial = Callable[
    [str, int, ssl.SSLContext | None, str | None],
    Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]],
]
"""Connects as `tcp` does."""


class Outcome(StrEnum):
    """What an attempt comes to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"
    """The endpoint wants nothing any more."""
    THROTTLED = "throttled"
    """The endpoint as a whole wants to be left alone for a while."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt went.

    Attributes:
        status: of the answer; None without one.
        error: what went wrong, without URL and secret; None when it was delivered.
        response: the first 1,024 bytes of the answer as text; None without one.
        retry_after_s: of THROTTLED, 1 to 86,400; otherwise None.
    """

    outcome: Outcome
    status: int | None
    error: str | None
    response: str | None
    duration_ms: int
    retry_after_s: int | None = None


class Blocked(Exception):
    """An address of the host may not be dialled."""


class Unknown(Exception):
    """The host has no address, or none that was told in time."""


class Sender:
    """Sends webhooks. On one event loop.

    Args:
        version: of this program, for `User-Agent`.
        timeout_s: of a whole attempt.
        http: plain HTTP is allowed.
        allowed: networks that may be dialled although they are not public.
        tls: whom to believe; by default the system's authorities, or those of `SSL_CERT_FILE`.
        dial: connects to an address that was judged; by default over TCP.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        version: str,
        *,
        timeout_s: float,
        http: bool = False,
        allowed: Iterable[Network] = (),
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
        dial: Dial | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent = f"less-sync-fleet/{version}"
        self._timeout_s = timeout_s
        self._http = http
        self._allowed = tuple(allowed)
        self._resolver = resolver or SystemResolver()
        self._tls = tls
        self._dial = dial or tcp
        self._clock = clock

    async def check(self, url: str) -> None:
        """Look at a URL as an attempt would. A host without an address is let through: it may get one.

        Raises:
            BadUrl: it is no URL for webhooks, or an address of its host may not be dialled.
        """
        target = parse_url(url, http=self._http)
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._resolver(target.host, target.port)
        except (TimeoutError, OSError):
            return
        if not may_dial(addresses, self._allowed):
            raise BadUrl("address is not allowed")

    async def send(self, url: str, headers: Sequence[tuple[str, str]], body: bytes, now_s: float) -> Attempt:
        """Try once. Raises nothing that a receiver could cause.

        Args:
            headers: beyond those of HTTP itself.
            now_s: what time it is, since 1970: a receiver may answer with a date.
        """
        began_s = self._clock()
        answer = _Answer()
        error = None
        try:
            target = parse_url(url, http=self._http)
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(target, headers, body, answer)
        except (BadUrl, Blocked, Unknown, TimeoutError) as fault:
            error = _named(fault)
        except (OSError, h11.RemoteProtocolError) as fault:
            error = _network_fault(fault)
        took_s = self._clock() - began_s
        return _judged(answer, error, round(took_s * 1_000), now_s + took_s)

    async def _exchange(
        self, target: Target, headers: Sequence[tuple[str, str]], body: bytes, answer: "_Answer"
    ) -> None:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        of_http = [
            ("Host", target.authority),
            ("User-Agent", self._agent),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="POST", target=target.path, headers=[*of_http, *headers])
        sent = [connection.send(one) for one in (request, h11.Data(data=body), h11.EndOfMessage())]
        reader, writer = await self._connected(target)
        try:
            writer.write(b"".join(piece for piece in sent if piece))
            await _read(reader, connection, answer)
        finally:
            writer.transport.abort()

    async def _connected(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Look the host up once, judge all its addresses, try them in turn with equal shares of the time.

        Raises:
            Blocked: an address may not be dialled.
            Unknown: there is none.
            OSError: nobody is there, or it is not who it should be.
        """
        if self._tls is None and target.scheme == "https":
            self._tls = ssl.create_default_context()  # late: it reads every authority there is
        tls = self._tls if target.scheme == "https" else None
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + CONNECT_S
        try:
            async with asyncio.timeout_at(deadline_s):
                addresses = await self._resolver(target.host, target.port)
        except OSError:  # a time-out too
            raise Unknown from None
        if not may_dial(addresses, self._allowed):
            raise Blocked
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            try:
                async with asyncio.timeout((deadline_s - loop.time()) / left):
                    return await self._dial(address, target.port, tls, target.host if tls else None)
            except ssl.SSLError:
                raise
            except OSError:
                if left == 1:
                    raise
        raise Unknown


async def tcp(
    address: str, port: int, tls: ssl.SSLContext | None, name: str | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to an address; with TLS, to who has a certificate for the name."""
    return await asyncio.open_connection(address, port, ssl=tls, server_hostname=name, limit=BODY_BYTES_MAX)


async def _read(reader: asyncio.StreamReader, connection: h11.Connection, answer: "_Answer") -> None:
    """Read as much of an answer as is wanted.

    Raises:
        ConnectionError: it ended, or did not end, before its status was told.
        h11.RemoteProtocolError: it is no HTTP/1.1.
        TimeoutError: the rest of it takes too long.
    """
    left_bytes = HEAD_BYTES_MAX + BODY_BYTES_MAX
    async with asyncio.timeout(None) as limit:
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    piece = await reader.read(BODY_BYTES_MAX)
                    left_bytes -= len(piece)
                    if left_bytes < 0 or not (piece or answer.status):
                        raise ConnectionError
                    connection.receive_data(piece)
                case h11.Response(status_code=status, headers=headers):
                    answer.status = status
                    told = (value for name, value in headers if name == b"retry-after")
                    answer.retry_after = next(told, b"").decode("latin-1")
                    limit.reschedule(asyncio.get_running_loop().time() + BODY_S)
                case h11.Data(data=data):
                    answer.body += data
                    if len(answer.body) >= BODY_BYTES_MAX:
                        return
                case h11.InformationalResponse():
                    continue
                case _:
                    return


@dataclass(slots=True)
class _Answer:
    """As much of an answer as has come; once there is a status, it alone decides."""

    status: int | None = None
    retry_after: str | None = None
    body: bytearray = field(default_factory=bytearray)


def _judged(answer: _Answer, error: str | None, duration_ms: int, now_s: float) -> Attempt:
    status = answer.status
    if status is None:
        return Attempt(Outcome.FAILED, None, error or "no answer", None, duration_ms)
    text = bytes(answer.body[:KEPT_BYTES_MAX]).decode("utf-8", "replace").replace("\0", "\ufffd")
    if 200 <= status < 300:
        return Attempt(Outcome.DELIVERED, status, None, text, duration_ms)
    error = f"answered {status}"
    if status == _GONE:
        return Attempt(Outcome.GONE, status, error, text, duration_ms)
    if status in _THROTTLING:
        wait_s = retry_after_s(answer.retry_after, now_s)
        return Attempt(Outcome.THROTTLED, status, error, text, duration_ms, wait_s)
    return Attempt(Outcome.FAILED, status, error, text, duration_ms)


def retry_after_s(text: str | None, now_s: float) -> int:
    """The seconds that `Retry-After` means, in numbers or as a date (RFC 9110 10.2.3), 1 to 86,400.

    60 when it is absent or neither.
    """
    text = (text or "").strip()
    if _SECONDS.fullmatch(text):
        wait_s = float(text)
    else:
        try:
            date = parsedate_to_datetime(text)
            wait_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now_s
        except (ValueError, OverflowError):
            return RETRY_AFTER_S
    return int(min(max(wait_s + 0.999, RETRY_AFTER_S_MIN), RETRY_AFTER_S_MAX))


def _named(fault: Exception) -> str:
    match fault:
        case BadUrl():
            return f"URL {fault}"
        case Blocked():
            return "blocked address"
        case Unknown():
            return "host has no address"
    return "timed out"


def _network_fault(fault: Exception) -> str:
    """What went wrong below HTTP, in words of ours: those of libraries may hold addresses."""
    match fault:
        case ssl.SSLCertVerificationError():
            return f"TLS error: {fault.verify_message}"
        case ssl.SSLError():
            return "TLS error"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionError():
            return "connection closed"
        case h11.RemoteProtocolError():
            return "invalid answer"
    return "cannot connect"
