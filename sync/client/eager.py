"""Connections for httpcore that hear the answer while they still send, for `sync.client.files`.

A server may refuse an upload by its head alone, long before the body is there, and then close. httpcore reads
when it has written everything; its own connections read nothing before, so that the reset which follows the
answer discards it. These read at once and keep what came, and end the writing when there is an answer.
"""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, Final, cast

from httpcore import (
    SOCKET_OPTION,
    AsyncNetworkBackend,
    AsyncNetworkStream,
    ConnectError,
    ConnectTimeout,
    ReadError,
    ReadTimeout,
    WriteError,
    WriteTimeout,
)

PIECE_BYTES: Final = 64 * 1024
"""What must get on its way within one timeout of writing, however much is to be written."""
KEPT_BYTES_HIGH: Final = 512 * 1024
"""Reading pauses while so much waits to be taken ..."""
KEPT_BYTES_LOW: Final = 128 * 1024
"""... and goes on when no more than this is left."""


class _Kept(asyncio.Protocol):
    """What came over a connection and was not taken yet, and whether more can be written."""

    def __init__(self) -> None:
        self.waiting = bytearray()
        self.ended = False
        self.error: Exception | None = None
        self.may_write = True
        self.changed = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._reads = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # by what it does: uvloop's is none by name
        self._transport.set_write_buffer_limits(high=PIECE_BYTES, low=0)

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        if len(self.waiting) >= KEPT_BYTES_HIGH and self._reads and self._transport is not None:
            self._reads = False
            self._transport.pause_reading()
        self.changed.set()

    def eof_received(self) -> bool:
        self.ended = True
        self.changed.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.error = exc
        self.changed.set()

    def pause_writing(self) -> None:
        self.may_write = False

    def resume_writing(self) -> None:
        self.may_write = True
        self.changed.set()

    def take(self, bytes_max: int) -> bytes:
        """What came first, at most so many bytes."""
        taken = bytes(memoryview(self.waiting)[:bytes_max])
        del self.waiting[:bytes_max]
        if not self._reads and not self.ended and len(self.waiting) <= KEPT_BYTES_LOW:
            assert self._transport is not None
            self._reads = True
            self._transport.resume_reading()
        return taken


class EagerStream(AsyncNetworkStream):
    """One connection. A timeout is for moving one byte, or `PIECE_BYTES` of what is written."""

    def __init__(self, transport: asyncio.Transport, kept: _Kept) -> None:
        self._transport = transport
        self._kept = kept

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Take what came, waiting for it; nothing at the end."""
        kept = self._kept
        try:
            async with asyncio.timeout(timeout):
                while not kept.waiting and not kept.ended:
                    kept.changed.clear()
                    await kept.changed.wait()
        except TimeoutError as error:
            raise ReadTimeout from error
        if not kept.waiting and kept.error is not None:
            raise ReadError(_words(kept.error)) from kept.error
        return kept.take(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send, unless an answer is there: then what is left would be sent for nothing.

        Raises:
            WriteError: the connection is gone, or an answer is there; httpcore reads it then.
            WriteTimeout: the other end does not take it.
        """
        rest = memoryview(buffer)
        while rest:
            await asyncio.sleep(0)  # whatever has come is read first: after a failed write nothing is
            self._check_writing()
            self._transport.write(rest[:PIECE_BYTES])
            rest = rest[PIECE_BYTES:]
            try:
                async with asyncio.timeout(timeout):
                    await self._written()
            except TimeoutError as error:
                raise WriteTimeout from error

    async def _written(self) -> None:
        while not self._kept.may_write:
            self._check_writing()
            self._kept.changed.clear()
            await self._kept.changed.wait()

    def _check_writing(self) -> None:
        kept = self._kept
        if kept.error is not None or self._transport.is_closing():
            raise WriteError("the connection is closed")
        if kept.ended or kept.waiting:
            raise WriteError("the other end has answered or hung up")

    async def aclose(self) -> None:
        """Close at once: whoever wants what is still unsent does not close."""
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncNetworkStream:
        """The same connection, encrypted."""
        loop = asyncio.get_running_loop()
        kept = _Kept()
        try:
            async with asyncio.timeout(timeout):
                transport = await loop.start_tls(
                    self._transport, kept, ssl_context, server_hostname=server_hostname
                )
        except TimeoutError as error:
            await self.aclose()
            raise ConnectTimeout from error
        except OSError as error:
            await self.aclose()
            raise ConnectError(_words(error)) from error
        except BaseException:
            await self.aclose()
            raise
        if transport is None:
            raise ConnectError("the connection was closed")
        kept.connection_made(transport)  # `start_tls` does not call it
        return EagerStream(transport, kept)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks: whether a connection that rests has ended, and what TLS has agreed on."""
        if info == "is_readable":
            return self._kept.ended or bool(self._kept.waiting)
        return self._transport.get_extra_info(info)


class EagerBackend(AsyncNetworkBackend):
    """Makes such connections over TCP."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Connect.

        Raises:
            ConnectError: refused, or the name is not known.
            ConnectTimeout: no answer in time.
        """
        try:
            async with asyncio.timeout(timeout):
                transport, kept = await asyncio.get_running_loop().create_connection(_Kept, host, port)
        except TimeoutError as error:
            raise ConnectTimeout from error
        except OSError as error:
            raise ConnectError(_words(error)) from error
        return EagerStream(transport, kept)


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
