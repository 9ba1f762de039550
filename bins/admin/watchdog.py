"""The delivery watchdog: writes a record every few seconds and sees that it is announced.

It is a client of this server like any other, but for how it comes in: over a socket pair, to sessions that
know who it is. One connection listens, another writes, so the time between them is that of a client's change
to another device: socket, session, lane, Postgres, announcement, socket (docs/operations.md 12.4).
"""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any, Final
from uuid import UUID

import structlog
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from less_sync.bins.http_server import serve_within
from less_sync.sync.client.errors import ConnectionLost, SyncClientError
from less_sync.sync.client.link import ClientLimits, Link
from less_sync.sync.limits import Limits
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.frames import Notification
from less_sync.sync.protocol.messages import (
    PullParams,
    PullSpace,
    PushChange,
    PushParams,
    PushResult,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
)
from less_sync.sync.services import Services
from less_sync.sync.session.canary import CANARY_PATH, apart, canary_routes
from less_sync.sync.session.open_sessions import Sessions

MISSING_INTERVALS: Final = 3
"""A proof that is missing for so many intervals is late."""
PUSHES_MAX: Final = 3
"""In one probe: another process may use the same id, or an older database was restored."""
BLOB_BYTES: Final = 16
PAUSE_S_MIN: Final = 1.0
"""Between probes, however long one took."""
CLOSE_TIMEOUT_S: Final = 1.0

_log = structlog.get_logger(__name__)


class DeliveryStatus(Enum):
    """What is known of delivery."""

    OK = "ok"
    LATE = "late"
    UNKNOWN = "unknown"


class Delivery:
    """What has been found out. Without a proof nothing is known: that is not the same as no delay."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._lag_s_max = limits.delivery_lag_s
        # While each probe takes as long as it may, that much lies between proofs.
        self._age_s_max = MISSING_INTERVALS * max(limits.delivery_probe_interval_s, limits.delivery_lag_s)
        self._clock = clock
        self._began_s = clock()
        self._proved_s: float | None = None
        self.lag_s: float | None = None
        """How long the last record took that came back; None before the first."""
        self.proofs = 0
        """How many came back."""
        self.failures = 0
        """How many did not, or not in time."""

    @property
    def age_s(self) -> float | None:
        """How long ago the last record came back; None before the first."""
        return None if self._proved_s is None else self._clock() - self._proved_s

    @property
    def status(self) -> DeliveryStatus:
        """Whether records come back in time."""
        if self.lag_s is None:
            return DeliveryStatus.UNKNOWN
        return DeliveryStatus.LATE if self.trouble else DeliveryStatus.OK

    @property
    def trouble(self) -> str:
        """Why clients should be elsewhere, in words; empty while there is no reason.

        That nothing is known yet is none, until the first record should have come back long ago.
        """
        if self.lag_s is not None and self.lag_s > self._lag_s_max:
            return f"the last record took {self.lag_s:.1f} s, more than {self._lag_s_max:g} s"
        if self.age_s is not None:
            return f"no record has come back for {self.age_s:.0f} s" if self.age_s > self._age_s_max else ""
        overdue = self._clock() - self._began_s > self._age_s_max
        return "no record has come back since the start" if overdue else ""

    def proved(self, lag_s: float) -> None:
        """A record came back."""
        self._proved_s = self._clock()
        self.lag_s = lag_s
        self.proofs += 1

    def failed(self) -> None:
        """A record did not come back, or not in time."""
        self.failures += 1


class _NotDelivered(Exception):
    """The server answered, but did not write."""


class _Pair:
    """The two connections, and what is expected on the one that listens."""

    def __init__(self, space: UUID, clock: Callable[[], float]) -> None:
        self._space = str(space)
        self._clock = clock
        self._expected: tuple[bytes, asyncio.Future[float]] | None = None
        self.listener: Link
        self.writer: Link

    @property
    def ended(self) -> bool:
        """Whether one of them is over."""
        return self.listener.ended or self.writer.ended

    def heard(self, notice: Notification, size_bytes: int) -> None:
        """Note when the record that is expected was announced."""
        if self._expected is None or notice.method != "sync":
            return
        blob, when = self._expected
        params: Any = notice.params
        if any(record.get("blob") == blob for record in params.get("records", ())) and not when.done():
            when.set_result(self._clock())

    def expect(self, blob: bytes) -> "asyncio.Future[float]":
        """When this record's announcement came."""
        when: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._expected = (blob, when)
        return when

    async def subscribe(self, timeout_s: float) -> None:
        """Listen; the space comes into being by that."""
        params = SubscribeParams([SubscribeSpace(id=self._space, since=0)])
        result = await self.listener.call("subscribe", params, SubscribeResult, timeout_s=timeout_s)
        if not result.spaces:
            raise _NotDelivered("the space may not be read")

    async def cursor(self) -> int:
        """Of the record; 0 if there is none yet."""
        params = PullParams([PullSpace(id=self._space, since=0)])
        found = 0
        async for chunk in self.writer.stream("pull", params):
            data: Any = chunk.data
            if chunk.name == "pull.record" and data.get("id") == self._space:
                found = data["cursor"]
        return found

    async def push(self, blob: bytes, expected_cursor: int, timeout_s: float) -> PushResult:
        """Write the record, whose id is the space's: ids of records are unique over all spaces."""
        change = PushChange(id=self._space, blob=blob, expected_cursor=expected_cursor)
        params = PushParams(space=self._space, changes=[change])
        return await self.writer.call("push", params, PushResult, timeout_s=timeout_s)


class Watchdog:
    """Probes until it is cancelled. Whatever goes wrong is a failure, and the next probe begins anew.

    Args:
        space: of this server (`sync/canary.py`).
        clock: monotonic seconds.
        random_bytes: makes contents that were never there before.
    """

    def __init__(
        self,
        services: Services,
        space: UUID,
        *,
        clock: Callable[[], float] = time.monotonic,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        limits = services.limits
        self._services = apart(services)
        self._take = serve_within(self._services, canary_routes(self._services, space))
        self._space = space
        self._clock = clock
        self._random_bytes = random_bytes
        self._interval_s = limits.delivery_probe_interval_s
        # A lag that is still allowed must be seen, and not taken for a failure.
        self._deadline_s = max(self._interval_s, 2 * limits.delivery_lag_s)
        self._pair: _Pair | None = None
        self._cursor = 0
        self._failures = 0
        self._warned = False
        self.delivery: Final = Delivery(limits, clock)
        """What it has found out so far."""

    @property
    def sessions(self) -> Sessions:
        """The server's ends of its connections."""
        return self._services.sessions

    async def run(self) -> None:
        """Probe at every interval, one probe at a time."""
        try:
            while True:
                begun_s = self._clock()
                await self._probe()
                left_s = self._interval_s - (self._clock() - begun_s)
                await asyncio.sleep(max(left_s, min(PAUSE_S_MIN, self._interval_s)))
        finally:
            await self._hang_up()
            await self._services.sessions.shutdown(CLOSE_TIMEOUT_S)

    async def _probe(self) -> None:
        trouble: str | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                lag_s = await self._prove()
        except TimeoutError:
            trouble = f"nothing came back within {self._deadline_s:g} s"
        except (SyncClientError, _NotDelivered, WebSocketException, OSError) as error:
            trouble = str(error) or type(error).__name__
        except Exception as error:
            _log.exception("the delivery watchdog failed")
            trouble = type(error).__name__
        if trouble is None:
            self._proved(lag_s)
        else:
            await self._failed(trouble)

    def _proved(self, lag_s: float) -> None:
        self.delivery.proved(lag_s)
        if self.delivery.status is DeliveryStatus.LATE:
            self._warn("delivery is late", lag_s=round(lag_s, 3))
        elif self._warned:
            self._warned = False
            _log.info("delivery is in time again", lag_s=round(lag_s, 3), failures=self._failures)
        self._failures = 0

    async def _failed(self, trouble: str) -> None:
        self.delivery.failed()
        self._failures += 1
        self._warn("delivery is not proven", trouble=trouble)
        await self._hang_up()

    def _warn(self, event: str, **fields: object) -> None:
        """Once, until it works again: a database that is away would fill the log."""
        if not self._warned:
            self._warned = True
            _log.warning(event, **fields)

    async def _prove(self) -> float:
        """How long one record took from its push to its announcement."""
        if self._pair is not None and self._pair.ended:
            await self._hang_up()  # its life was over, say; that is no failure
        if self._pair is None:
            self._pair = await self._connect()
            await self._pair.subscribe(self._deadline_s)
            self._cursor = await self._pair.cursor()
        pair, blob = self._pair, self._random_bytes(BLOB_BYTES)
        heard = pair.expect(blob)
        for _ in range(PUSHES_MAX):
            begun_s = self._clock()
            result = await pair.push(blob, self._cursor, self._deadline_s)
            if result.ok:
                self._cursor = result.cursor
                return await _unless_ended(heard, pair.listener) - begun_s
            if result.error != ErrorCode.CONFLICT:
                break
            self._cursor = await pair.cursor()
        raise _NotDelivered(f"the push was answered {result.error}")

    async def _connect(self) -> _Pair:
        pair = _Pair(self._space, self._clock)
        subprotocols = self._services.subprotocols
        pair.listener = await _open_link(self._take, subprotocols, pair.heard)
        try:
            pair.writer = await _open_link(self._take, subprotocols, lambda notice, size_bytes: None)
        except BaseException:
            await _close(pair.listener)
            raise
        return pair

    async def _hang_up(self) -> None:
        pair, self._pair = self._pair, None
        if pair is not None:
            await asyncio.gather(_close(pair.listener), _close(pair.writer))


async def _unless_ended(heard: "asyncio.Future[float]", listener: Link) -> float:
    """When it was heard.

    Raises:
        SyncClientError: the connection that listens ended first.
    """
    ended = asyncio.create_task(listener.wait_ended())
    waiting: set[asyncio.Future[Any]] = {heard, ended}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
    if heard.done():
        return heard.result()
    raise listener.end or ConnectionLost(0, "")


async def _open_link(
    take: Callable[[socket.socket], Coroutine[object, object, None]],
    subprotocols: Sequence[str],
    on_notification: Callable[[Notification, int], None],
) -> Link:
    """A connection to this very server, by a socket pair."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    try:
        await take(far)
    except BaseException:
        near.close()
        far.close()
        raise
    # From here on each end has a transport, which closes it, and ends when the other one does.
    connection = await connect(
        f"ws://localhost{CANARY_PATH}",
        sock=near,
        proxy=None,
        compression=None,
        subprotocols=[Subprotocol(name) for name in subprotocols],
        open_timeout=None,  # the probe has a deadline
        ping_interval=None,
        close_timeout=CLOSE_TIMEOUT_S,
    )
    return Link(connection, ClientLimits(), on_notification)


async def _close(link: Link) -> None:
    """Hang up: in order if that goes at once, by force else."""
    with suppress(TimeoutError, WebSocketException):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await link.close()
