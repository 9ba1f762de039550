"""A small HTTP listener that answers `/metrics` alone, and the same page for a push gateway."""

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from less_sync.volume.logs import Logger
from less_sync.volume.metrics import CONTENT_TYPE
from less_sync.volume.options import parse_address

_log = Logger(__name__)
CONNECTIONS_MAX: Final = 32
HEAD_BYTES_MAX: Final = 16 << 10
CLIENT_S_MAX: Final = 10.0
PUSH_INTERVAL_S_MIN: Final = 1.0
ANSWER_BYTES_MAX: Final = 64 << 10


class MetricsListener:
    """One request on each connection. `page` is asked for each."""

    def __init__(self, page: Callable[[], str]) -> None:
        self._page: Final = page
        self._server: asyncio.Server | None = None
        self._serving: Final[set[asyncio.Task[None]]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port.

        Raises:
            OSError: the address cannot be had.
        """
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES_MAX)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Close the socket and what is open."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._serving) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._serving.add(task)
        try:
            async with asyncio.timeout(CLIENT_S_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split(b"\r\n", 1)[0]))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._serving.discard(task)
            writer.close()

    def _answer(self, line: bytes) -> bytes:
        method, _, rest = line.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _response("404 Not Found", b"404 page not found\n", with_body=method != b"HEAD")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"", with_body=True)
        return _response("200 OK", self._page().encode(), with_body=method == b"GET")


async def push(page: Callable[[], str], gateway: str, interval_s: float, instance: str) -> None:
    """Send the page to a push gateway (`host:port`, or a URL) again and again, until cancelled."""
    try:
        address = parse_address(gateway.removeprefix("http://").rstrip("/"))
    except ValueError:
        _log.warning("address of the push gateway is none", address=gateway)
        await asyncio.Event().wait()  # what was asked for cannot be done, which ends no server
        raise
    path = f"/metrics/job/volumeServer/instance/{quote(instance, safe='')}"
    while True:
        try:
            async with asyncio.timeout(CLIENT_S_MAX):
                status = await _put(address.host.strip("[]"), address.port, path, page().encode())
            if status // 100 != 2:
                _log.warning("push gateway refuses metrics", status=status)
        except (OSError, ValueError) as error:  # a timeout is an OSError
            _log.warning("push gateway cannot be reached", kind=type(error).__name__)
        await asyncio.sleep(max(interval_s, PUSH_INTERVAL_S_MIN))


async def _put(host: str, port: int, path: str, body: bytes) -> int:
    """Send a body, and return the status of the answer."""
    reader, writer = await asyncio.open_connection(host, port, limit=ANSWER_BYTES_MAX)
    try:
        head = (
            f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {CONTENT_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        return int((await reader.readline()).split(b" ")[1])
    except IndexError as error:
        raise ValueError("no answer of HTTP") from error
    finally:
        writer.close()


def _response(status: str, body: bytes, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (body if with_body else b"")
