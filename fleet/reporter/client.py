"""Requests to a fleet plane: each over a connection of its own, in bounded time, with a bounded answer."""

import asyncio
import ssl
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self

import httpcore

from less_sync.fleet.reporter.messages import (
    Beaten,
    NotUnderstood,
    Registered,
    read_beaten,
    read_registered,
)

REQUEST_S_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 64 * 1024
RECEIVED_BYTES_MAX: Final = 2 * ANSWER_BYTES_MAX
"""Of an answer as it comes: with heads, those of interim answers too, and the framing of chunks."""
READ_BYTES_MAX: Final = 4 * 1024
"""At a time: the parser takes in one go what was read, however many small pieces that is, and clients wait
meanwhile."""
RETRY_AFTER_S_MAX: Final = 3600.0
REASON_CHARS_MAX: Final = 200


class NoAnswer(Exception):
    """There was none, or none that a plane gives. The text says why, and quotes nothing that was received."""


class Refused(Exception):
    """It was answered with another status than was hoped for."""

    def __init__(self, status: int, retry_after_s: float) -> None:
        super().__init__(f"status {status}")
        self.status: Final = status
        self.retry_after_s: Final = retry_after_s
        """0 unless the plane asked for it; `RETRY_AFTER_S_MAX` at most."""


class _Stream(httpcore.AsyncNetworkStream):
    """A connection of which `RECEIVED_BYTES_MAX` are read at most, a little at a time."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream: Final = stream
        self._left_bytes = RECEIVED_BYTES_MAX

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        part = await self._stream.read(min(max_bytes, READ_BYTES_MAX), timeout)
        self._left_bytes -= len(part)
        if self._left_bytes < 0:
            raise NoAnswer("the answer is too long")
        return part

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Network(httpcore.AsyncNetworkBackend):
    """Dials, and closes at its end whatever it has opened.

    The library forgets a connection whose TLS handshake our time limit cuts off: a plane that hangs in it
    would cost an open file a try.
    """

    def __init__(self) -> None:
        self._backend: Final = httpcore.AnyIOBackend()
        self._opened: Final[list[httpcore.AsyncNetworkStream]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for stream in self._opened:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        self._opened.append(stream)
        return _Stream(stream)


class Plane:
    """A plane at its URL. Redirects are not followed and no variables of the environment are looked at.

    Args:
        url: without a slash at its end.
        version: of this program, to be told.
        now: for a `Retry-After` that is a date.
        tls: makes what certificates are checked with; reading the system's takes a while, so that it is
            called once, in a thread.
        request_s_max: for all of a request, looking up the name included.
    """

    def __init__(
        self,
        url: str,
        *,
        version: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        request_s_max: float = REQUEST_S_MAX,
    ) -> None:
        self.url: Final = url
        self._version: Final = version
        self._now: Final = now
        self._make_tls: Final = tls
        self._tls: ssl.SSLContext | None = None
        self._request_s_max: Final = request_s_max

    async def register(self, body: bytes, credential: str, *, rotate: bool = False) -> Registered:
        """Make this server known, or known anew.

        Args:
            credential: an enrolment token, or with `rotate` the agent's own, for which a new one comes.

        Raises:
            NoAnswer, Refused: it is not.
        """
        path = f"/management/v1/agents/register{'?rotate=1' if rotate else ''}"
        try:
            return read_registered(await self._post(path, body, credential))
        except NotUnderstood as error:
            raise NoAnswer(str(error)) from None

    async def heartbeat(self, agent_id: str, body: bytes, token: str) -> Beaten:
        """Say that this server lives.

        Raises:
            NoAnswer, Refused: nobody took note of it.
        """
        try:
            return read_beaten(await self._post(f"/management/v1/agents/{agent_id}/heartbeat", body, token))
        except NotUnderstood as error:
            raise NoAnswer(str(error)) from None

    async def _post(self, path: str, body: bytes, credential: str) -> bytes:
        headers = {
            "Authorization": f"Bearer {credential}",
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"less-sync/{self._version}",
            "Connection": "close",
        }
        try:
            async with asyncio.timeout(self._request_s_max):
                return await self._exchange(path, body, headers)
        except TimeoutError:
            raise NoAnswer(f"it took longer than {self._request_s_max:g} s") from None
        except (httpcore.NetworkError, OSError) as error:
            # The text names the fault of a certificate, which an operator needs.
            raise NoAnswer(str(error)[:REASON_CHARS_MAX] or type(error).__name__) from None
        except (httpcore.ProtocolError, httpcore.TimeoutException):
            raise NoAnswer("it was not answered in HTTP") from None

    async def _exchange(self, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        if self._tls is None and self.url.startswith("https:"):
            self._tls = await asyncio.to_thread(self._make_tls)
        async with (
            _Network() as network,
            httpcore.AsyncConnectionPool(self._tls, max_connections=1, network_backend=network) as pool,
            pool.stream("POST", self.url + path, headers=list(headers.items()), content=body) as response,
        ):
            if response.status not in (200, 201):
                raise Refused(response.status, self._retry_after_s(response.headers))
            answer = bytearray()
            async for part in response.aiter_stream():
                answer += part
                if len(answer) > ANSWER_BYTES_MAX:
                    raise NoAnswer("the answer is too long")
            return bytes(answer)

    def _retry_after_s(self, headers: list[tuple[bytes, bytes]]) -> float:
        """`Retry-After` in either form (RFC 9110, section 10.2.3); 0 where it has none."""
        told = next((value for name, value in headers if name.lower() == b"retry-after"), b"").decode(
            "latin-1"
        )
        if told.isascii() and told.isdigit():
            return min(float(told[:10]), RETRY_AFTER_S_MAX)
        try:
            moment = parsedate_to_datetime(told)
        except (ValueError, OverflowError):
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - self._now()).total_seconds()), RETRY_AFTER_S_MAX)
