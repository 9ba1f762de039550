"""Pulls of a link go over connections of their own: TCP holds the home back while a client reads slowly.

There is one pull at a time on each, and so none stands behind another one's reader. They are dialled on
demand and kept for a while. When all are taken, or the home wants no more of them, a pull goes over the
connection of the calls, whose reader may not wait: what comes faster than it is taken is parked, within
bounds, beyond which the pull is over.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import structlog

from less_sync.federation.outbound.calls import (
    PeerAddress,
    PeerFault,
    PeerLost,
    PeerRefused,
    PeerSilent,
    PeerUnreachable,
    PullBroken,
)
from less_sync.federation.outbound.dial import Dial, DialFailed, DialRefused
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.outbox import Line
from less_sync.federation.outbound.socket import PeerSocket
from less_sync.storage import Turns
from less_sync.sync.client.connection import Chunks, RawLink
from less_sync.sync.client.errors import ConnectionLost, StreamOverrun, SyncClientError
from less_sync.sync.protocol.codes import CloseCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Chunk, Notification, Response
from less_sync.sync.protocol.messages import ChunkedResult, decode_params

CLOSE_NORMAL = 1000

log = structlog.get_logger(__name__)


class _OwnLine(Line):
    """A connection for one pull at a time."""

    __slots__ = ("expiry", "rests")

    def __init__(self, socket: PeerSocket, link: RawLink) -> None:
        super().__init__(socket, link)
        self.expiry: asyncio.TimerHandle | None = None
        self.rests = True
        """Nothing is under way on it."""


class Pulls:
    """The pulls of one link.

    Args:
        opened: waits for the connection of the calls, for the request of this id and person, and returns it;
            raises as a call does.
    """

    def __init__(
        self,
        address: PeerAddress,
        dial: Dial,
        limits: LinkLimits,
        opened: Callable[[str, str], Awaitable[Line]],
    ) -> None:
        self._address = address
        self._dial = dial
        self._limits = limits
        self._opened = opened
        self._turns = _halves(limits.pull_connections + limits.pulls_shared)
        self._shared = _halves(limits.pulls_shared)
        self._lines: list[_OwnLine] = []
        self._idle: list[_OwnLine] = []
        self._dialling = 0
        self._none_until_s = float("-inf")
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()
        self.running = 0

    async def pull(self, request_id: str, frame: bytes, person: str) -> AsyncGenerator[Chunk, None]:
        """As `PeerCalls.pull`."""
        self.running += 1
        try:
            async with self._turn(self._turns, person):
                for last in (False, True):
                    try:
                        async with self._line(request_id, person) as line:
                            async with aclosing(self._chunks(line, request_id, frame)) as chunks:
                                async for chunk in chunks:
                                    yield chunk
                        return
                    except PeerLost:  # so nothing of it had come
                        if last:
                            raise
        finally:
            self.running -= 1

    async def aclose(self) -> None:
        """Close all connections; pulls under way break."""
        self._closed = True
        for line in list(self._lines):
            self._close(line, CloseCode.GOING_AWAY)
        if self._closing:
            await asyncio.wait(self._closing)

    @asynccontextmanager
    async def _turn(self, turns: Turns, person: str) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(self._limits.call_timeout_s):
                await turns.acquire(person)
        except TimeoutError:
            raise PeerUnreachable from None
        try:
            yield
        finally:
            turns.release(person)

    # Which connection.

    @asynccontextmanager
    async def _line(self, request_id: str, person: str) -> AsyncGenerator[Line, None]:
        """A connection for one pull: one of its own, or else a share of that of the calls."""
        await self._opened(request_id, person)  # which says whether the peer can be reached at all
        own = await self._take()
        if own is not None:
            try:
                yield own
            finally:
                self._give_back(own)
        else:
            async with self._turn(self._shared, person):
                yield await self._opened(request_id, person)

    async def _take(self) -> _OwnLine | None:
        while self._idle:
            line = self._idle.pop()
            if line.expiry is not None:
                line.expiry.cancel()
            if not line.link.ended:
                return line
            self._lines.remove(line)
        full = len(self._lines) + self._dialling >= self._limits.pull_connections
        if full or asyncio.get_running_loop().time() < self._none_until_s:
            return None
        self._dialling += 1
        try:
            socket = await self._dial(self._address)
        except DialFailed as error:
            refused = isinstance(error, DialRefused)
            self._want_none(str(error), self._limits.pull_refused_s if refused else self._limits.dial_age_s)
            return None
        finally:
            self._dialling -= 1
        if self._closed:
            socket.abort()
            return None
        line = _OwnLine(socket, RawLink(socket, _unheard, skip_undecodable=True))
        self._lines.append(line)
        return line

    def _give_back(self, line: _OwnLine) -> None:
        """Keep a connection for a while, if its pull came to an end and it lives."""
        if line not in self._lines:
            return  # closed meanwhile
        end = line.link.end
        if end is None and line.rests:
            self._idle.append(line)
            keep_s = self._limits.pull_connection_idle_s
            line.expiry = asyncio.get_running_loop().call_later(keep_s, self._expire, line)
            return
        self._lines.remove(line)
        line.socket.abort()
        if isinstance(end, ConnectionLost) and end.code == CloseCode.TOO_MANY_CONNECTIONS:
            self._want_none(end.reason, self._limits.pull_refused_s)

    def _want_none(self, why: str, seconds: float) -> None:
        """The peer takes no other connection: ask for none for a while."""
        log.info("pulls share the link", peer=self._address.host, why=why)
        self._none_until_s = asyncio.get_running_loop().time() + seconds

    def _expire(self, line: _OwnLine) -> None:
        self._idle.remove(line)
        self._close(line, CLOSE_NORMAL)

    def _close(self, line: _OwnLine, code: int) -> None:
        if line.expiry is not None:
            line.expiry.cancel()
        self._lines.remove(line)
        task = asyncio.create_task(line.link.close(code), name="pull-connection-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # What comes.

    async def _chunks(self, line: Line, request_id: str, frame: bytes) -> AsyncGenerator[Chunk, None]:
        if line.link.ended:
            raise PeerLost
        own = line if isinstance(line, _OwnLine) else None
        chunks = Chunks(self._limits.chunk_bounds, lambda: own is None)
        line.link.expect(request_id, chunks)
        line.socket.write(frame)
        if own is not None:
            own.rests = False
        received = 0
        try:
            while isinstance(item := await self._next(line, chunks, received), Chunk):
                received += 1
                yield item
            if own is not None:
                own.rests = True
        finally:
            chunks.abandon()
            line.link.forget(request_id)
        _check(item, received)

    async def _next(self, line: Line, chunks: Chunks, received: int) -> Chunk | Response:
        """What comes next. Only while nothing has come does silence count: then our reader is not behind."""
        try:
            if not chunks.empty:
                return await chunks.get()
            async with asyncio.timeout(self._limits.pull_silence_s):
                return await chunks.get()
        except TimeoutError:
            line.socket.probe()
            fault: PeerFault = PullBroken() if received else PeerSilent()
        except SyncClientError as error:
            broken = received or isinstance(error, StreamOverrun)
            fault = PullBroken() if broken else PeerLost()
        raise fault


def _halves(places: int) -> Turns:
    """Places of which nobody has more than half, also while nobody else asks: a pull lasts as long as its
    reader likes, so whoever comes later could wait for ever.
    """
    return Turns(places, each_max=max(1, places // 2))


def _unheard(frame: Notification, size_bytes: int) -> None:
    """Nothing was subscribed to on a connection of a pull."""


def _check(response: Response, received: int) -> None:
    """Whether the response ends what came."""
    if response.error is not None:
        if received:
            raise PullBroken
        raise PeerRefused(response.error.code, response.error.message)
    try:
        told = decode_params(ChunkedResult, response.result).chunks
    except ParamsError:
        raise PullBroken from None
    if told != received:
        raise PullBroken
