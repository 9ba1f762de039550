"""The link to one peer: dials, keeps the connection, dials again; calls go through while it is there.

States (docs/federation.md 8.2):

    idle ──call or want──▶ connecting ──let in, restored──▶ open
      ▲                      ▲     │                         │
      │                    due, or │ failed                  │ ended
      │                    a call  ▼                         ▼
      └──nothing wanted──── backoff ◀────────────────────────┘
    closed: the server stops; from any state, for good

One task, the keeper, is there whenever the state is not idle or closed. It alone changes the connection, and
what happens to requests when one comes or goes happens in `Outbox`. Everything runs on the event loop, so
between two awaits nothing else does.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

import structlog

from less_sync.federation.outbound.backoff import RECYCLED, Backoff
from less_sync.federation.outbound.calls import (
    LinkState,
    PeerAddress,
    PeerFault,
    PeerRefused,
    PeerSilent,
    PeerUnreachable,
    Repeat,
    RestoreCall,
)
from less_sync.federation.outbound.dial import Dial, DialFailed, DialRefused
from less_sync.federation.outbound.limits import LinkLimits
from less_sync.federation.outbound.outbox import Line, Outbox, Request, Ticket
from less_sync.federation.outbound.pulls import Pulls
from less_sync.sync.client.connection import RawLink
from less_sync.sync.client.errors import NO_CLOSE_FRAME, ConnectionLost
from less_sync.sync.protocol.codes import SHUTTING_DOWN, CloseCode, ErrorCode
from less_sync.sync.protocol.frames import (
    Chunk,
    Notification,
    Response,
    encode_notification,
    encode_request,
)

CLOSE_NORMAL: Final = 1000
IDLE_LOOKS: Final = 10
"""So often within `idle_s` is looked whether the connection is still of use."""

log = structlog.get_logger(__name__)


Restore = Callable[[RestoreCall], Awaitable[None]]
"""Subscribes again to everything wanted. What it raises ends the connection. Its calls are never repeated:
the next connection restores anew."""


def request_ids() -> Callable[[], str]:
    """A maker of request ids; one for the whole process."""
    numbers = itertools.count(1)
    return lambda: f"fed-{next(numbers)}"


class PeerLink:
    """Implements `PeerCalls`.

    Args:
        new_id: makes request ids, unique in this process.
        chance: draws jitter.
        restore: see there.
        wanted: whether a connection is wanted without any call; asked now and then, and after `wake`.
        on_notification: told what the peer announces, in order of arrival; must not wait.
        on_state: told each new state.
    """

    def __init__(
        self,
        address: PeerAddress,
        dial: Dial,
        *,
        new_id: Callable[[], str],
        chance: random.Random,
        restore: Restore,
        wanted: Callable[[], bool],
        on_notification: Callable[[Notification], None],
        on_state: Callable[[LinkState], None] = lambda state: None,
        limits: LinkLimits | None = None,
    ) -> None:
        self.address = address
        self._dial = dial
        self._new_id = new_id
        self._restore = restore
        self._wanted = wanted
        self._on_notification = on_notification
        self._on_state = on_state
        self._limits = limits or LinkLimits()
        self._backoff = Backoff(chance, self._limits)
        self._outbox = Outbox(self._limits)
        self._pulls = Pulls(address, dial, self._limits, self._opened)
        self._state = LinkState.IDLE
        self._keeper: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()
        self._dialled_s = float("-inf")
        self._used_s = float("-inf")
        self._line: Line | None = None
        """The connection, from the upgrade on."""

    @property
    def state(self) -> LinkState:
        """Where the link stands."""
        return self._state

    # What callers do.

    async def call(self, method: str, params: bytes, *, person: str, repeat: Repeat = Repeat.ONCE) -> object:
        """As `PeerCalls.call`. A request beyond `message_bytes` is refused here, with `payload_too_large`."""
        request_id = self._new_id()
        frame = self._encoded(request_id, method, params)
        self._admit()
        request = Request(request_id, person, frame, repeat)
        self._outbox.take_room(person, len(frame))
        try:
            async with asyncio.timeout(self._limits.call_timeout_s):
                response = await self._answered(request, person)
        except TimeoutError:
            if not request.written:
                raise PeerUnreachable from None
            if (line := self._outbox.line) is not None:
                line.socket.probe()  # if the peer is gone, the next call need not wait for so long
            raise PeerSilent from None
        finally:
            self._outbox.leave_room(person, len(frame))
        return _result(response)

    async def pull(self, params: bytes, *, person: str) -> AsyncGenerator[Chunk, None]:
        """As `PeerCalls.pull`."""
        request_id = self._new_id()
        frame = self._encoded(request_id, "pull", params)
        self._outbox.take_room(person, len(frame))
        try:
            async with aclosing(self._pulls.pull(request_id, frame, person)) as chunks:
                async for chunk in chunks:
                    yield chunk
        finally:
            self._outbox.leave_room(person, len(frame))

    def notify(self, method: str, params: bytes) -> None:
        """As `PeerCalls.notify`; dropped also while the peer does not read."""
        line = self._outbox.line
        if line is not None and line.socket.writable:
            line.socket.write(encode_notification(method, params))

    def wake(self) -> None:
        """As `PeerCalls.wake`. A link that waits to dial again goes on waiting."""
        if self._wanted():
            self._keep()

    async def aclose(self) -> None:
        """Close with 1001; whoever waits is told, and nothing is dialled any more."""
        self._set(LinkState.CLOSED)
        self._outbox.end_all()
        closings = [self._pulls.aclose()]
        if self._line is not None:
            closings.append(self._line.link.close(SHUTTING_DOWN.code, SHUTTING_DOWN.reason))
        await asyncio.gather(*closings)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])

    def _encoded(self, request_id: str, method: str, params: bytes) -> bytes:
        frame = encode_request(request_id, method, params)
        if len(frame) > self._limits.message_bytes:
            raise PeerRefused(ErrorCode.PAYLOAD_TOO_LARGE, "payload too large")
        return frame

    async def _answered(self, request: Request, person: str) -> Response:
        await self._outbox.take_place(person)
        try:
            self._admit()  # it may have ended meanwhile
            self._outbox.add(request)
            return await request.answer
        finally:
            self._outbox.forget(request)
            self._outbox.leave_place(person)
            self._used_s = asyncio.get_running_loop().time()

    async def _opened(self, request_id: str, person: str) -> Line:
        self._admit()
        ticket = Ticket(request_id, person)
        self._outbox.add(ticket)
        try:
            async with asyncio.timeout(self._limits.call_timeout_s):
                return await ticket.line
        except TimeoutError:
            raise PeerUnreachable from None
        finally:
            self._outbox.forget(ticket)

    def _admit(self) -> None:
        """Let a call in; while the link waits to dial again, only one that makes it dial now.

        Raises:
            PeerUnreachable: the last dial is too young, or the link is closed.
        """
        if self._stopped:
            raise PeerUnreachable
        now_s = self._used_s = asyncio.get_running_loop().time()
        if self._state is LinkState.BACKOFF:
            if now_s - self._dialled_s <= self._limits.dial_age_s:
                raise PeerUnreachable
            self._hurry.set()
        self._keep()

    # The keeper.

    def _keep(self) -> None:
        if self._keeper is None and not self._stopped:
            self._keeper = asyncio.create_task(self._run(), name=f"peer-link {self.address.host}")

    @property
    def _stopped(self) -> bool:
        return self._state is LinkState.CLOSED

    @property
    def _busy(self) -> bool:
        return self._outbox.busy or self._pulls.running > 0

    async def _run(self) -> None:
        try:
            while not self._stopped and (self._busy or self._wanted()):
                try:
                    wait_s = await self._connection()
                except Exception as error:  # of this server's own making: the link must outlive it
                    log.exception("peer link failed", peer=self.address.host)
                    wait_s = self._not_connected(DialFailed(type(error).__name__))
                if wait_s is not None:
                    await self._wait(wait_s)
        finally:
            self._keeper = None
            self._line = None
            self._outbox.end_all()
            self._set(LinkState.IDLE)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            pass
        finally:
            self._hurry.clear()

    async def _connection(self) -> float | None:
        """Dial, and keep the connection until it ends; return for how long to wait, None if it rests."""
        loop = asyncio.get_running_loop()
        self._set(LinkState.CONNECTING)
        self._hurry.clear()
        self._dialled_s = loop.time()
        try:
            socket = await self._dial(self.address)
        except DialFailed as error:
            return self._not_connected(error)
        if self._stopped:
            socket.abort()
            return None
        opened_s = loop.time()
        link = RawLink(socket, self._notified, skip_undecodable=True)
        line = self._line = Line(socket, link)
        try:
            rests = await self._restored(line) and await self._open(line)
        finally:
            self._line = None
            self._outbox.detach()
            if not link.ended:
                socket.abort()
        if rests or self._stopped:
            return None
        return self._ended(link, loop.time() - opened_s)

    def _not_connected(self, error: DialFailed) -> float:
        if isinstance(error, DialRefused):
            wait_s = self._backoff.refused(error.status)
            tell = log.error if error.status == 401 else log.warning
        else:
            wait_s = self._backoff.unreachable()
            tell = log.warning
        tell("peer not connected", peer=self.address.host, why=str(error), again_in_s=round(wait_s, 1))
        self._set(LinkState.BACKOFF)
        self._outbox.put_off(wait_s, dial_failed=True)
        return wait_s

    def _ended(self, link: RawLink, open_s: float) -> float:
        end = link.end
        lost = end if isinstance(end, ConnectionLost) else ConnectionLost(NO_CLOSE_FRAME, "")
        wait_s = self._backoff.closed(lost.code, open_s)
        tell = log.error if lost.code == CloseCode.PROTOCOL_ERROR else log.info
        tell("peer link ended", peer=self.address.host, why=str(lost), again_in_s=round(wait_s, 1))
        # What was closed as planned comes back as planned: calls wait for it.
        planned = lost.code in RECYCLED and wait_s <= self._limits.recycled_s
        self._set(LinkState.CONNECTING if planned else LinkState.BACKOFF)
        self._outbox.put_off(wait_s, dial_failed=False)
        return wait_s

    async def _restored(self, line: Line) -> bool:
        async def call(method: str, params: bytes) -> object:
            request_id = self._new_id()
            frame = self._encoded(request_id, method, params)
            request = Request(request_id, "", frame, Repeat.ONCE, tied=True)
            request.send(line)
            if line.link.ended:
                request.end()
            try:
                async with asyncio.timeout(self._limits.call_timeout_s):
                    return _result(await request.answer)
            except TimeoutError:
                raise PeerSilent from None
            finally:
                line.link.forget(request_id)

        try:
            await self._restore(call)
        except PeerFault as error:
            log.warning("peer not restored", peer=self.address.host, why=type(error).__name__)
        except Exception:
            log.exception("peer not restored", peer=self.address.host)
        else:
            return not line.link.ended
        return False

    async def _open(self, line: Line) -> bool:
        """Let calls through until the connection ends; False then, True when it was closed as of no use."""
        loop = asyncio.get_running_loop()
        self._set(LinkState.OPEN)
        self._outbox.attach(line)
        self._used_s = loop.time()
        while not line.link.ended:
            try:
                async with asyncio.timeout(self._limits.idle_s / IDLE_LOOKS):
                    await line.link.wait_ended()
            except TimeoutError:
                if self._busy or self._wanted():
                    self._used_s = loop.time()
                elif loop.time() - self._used_s >= self._limits.idle_s:
                    self._outbox.detach()
                    self._set(LinkState.IDLE)
                    await line.link.close(CLOSE_NORMAL)
                    return True
        return False

    def _notified(self, frame: Notification, size_bytes: int) -> None:
        try:
            self._on_notification(frame)
        except Exception:
            log.exception("peer notification failed", peer=self.address.host, method=frame.method)

    def _set(self, state: LinkState) -> None:
        if state is not self._state and not self._stopped:
            self._state = state
            self._on_state(state)


def _result(response: Response) -> object:
    if response.error is not None:
        raise PeerRefused(response.error.code, response.error.message)
    return response.result
