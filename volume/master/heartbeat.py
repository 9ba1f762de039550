"""The task that reports to the master: one stream, a message every pulse, changes at once.

A store's changes are noted by a plain function on the event loop, so that none can fall between a full list
and the changes behind it: what was noted before a list is built is in the list, and is forgotten with it.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import grpc.aio

from less_sync.volume.counters import Counters
from less_sync.volume.grpc.protos import master_pb2 as pb
from less_sync.volume.logs import Logger
from less_sync.volume.master.channels import Channels, decoded
from less_sync.volume.master.masters import SERVICE, Masters
from less_sync.volume.master.messages import HeartbeatMessages, runs_of_one_kind
from less_sync.volume.master.reports import Change, Reported
from less_sync.volume.options import Address, Options, parse_address

_log = Logger(__name__)
CHANGES_MAX: Final = 1024
SEND_S_MAX: Final = 30.0
FAREWELL_S_MAX: Final = 2.0
HEARD_S_MAX: Final = 0.1
REASON_S_MAX: Final = 1.0
_BROKEN: Final = (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError, TimeoutError)
"""What reading and writing say of a stream that broke; the last one: the master takes nothing any more."""


class DuplicateDirectories(Exception):
    """Another server reports the same data directories, again and again. The process must end."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a heartbeat, which the protocol fixes; tests have no time for them."""

    pulse_s: float = 5.0
    pulses_for_shards: int = 17
    before_leader_s: float = 3.0
    after_duplicates_s: tuple[float, ...] = (2.0, 4.0, 8.0)
    send_s_max: float = SEND_S_MAX


@dataclass(frozen=True, slots=True)
class _Leader:
    """The stream ended because another master leads."""

    address: Address


class _Duplicates:
    """The stream ended because the master knows our directories from another server."""


class _Left:
    """The stream ended because this server takes its leave."""


_End = _Leader | _Duplicates | _Left


class Heartbeat:
    """Reports to whichever master leads until `Masters.leave`."""

    def __init__(
        self,
        options: Options,
        masters: Masters,
        channels: Channels,
        reported: Reported,
        counters: Counters,
        *,
        pace: Pace | None = None,
    ) -> None:
        self._options: Final = options
        self._masters: Final = masters
        self._channels: Final = channels
        self._reported: Final = reported
        self._counters: Final = counters
        self._pace: Final = pace or Pace()
        self._changes: Final[list[Change]] = []
        self._overflown = False
        self._wake: Final = asyncio.Event()
        reported.watch(self._note)

    async def run(self) -> None:
        """Keep a stream to a master until this server leaves.

        Raises:
            DuplicateDirectories: the master refuses our directories for the fourth time in a row.
        """
        leader: Address | None = None
        duplicates = 0
        seeds: Iterator[Address] = cycle(self._options.masters)
        while self._masters.heartbeating:
            address = next(seeds)
            if leader is not None:
                if await self._left_within(self._pace.before_leader_s):
                    return
                address, leader = leader, None
            self._masters.current = address
            end = await self._report_to(address)
            match end:
                case _Leader():
                    leader = end.address
                    _log.info("another master leads", master=leader.http)
                case _Duplicates():
                    if duplicates == len(self._pace.after_duplicates_s):
                        raise DuplicateDirectories("another server reports the same data directories")
                    pause_s = self._pace.after_duplicates_s[duplicates]
                    duplicates += 1
                    _log.warning("master knows our directories from another server", again_in_s=pause_s)
                    await self._left_within(pause_s)
                case None:
                    duplicates = 0
                    self._counters.master_disconnections[address.http] += 1
                    await self._left_within(self._pace.pulse_s)
                case _Left():
                    return

    async def _report_to(self, address: Address) -> _End | None:
        """Report over one stream to its end; None: it broke."""
        channel = self._channels.open(address.grpc)
        stream: Any = channel.stream_stream(
            SERVICE + "SendHeartbeat",
            request_serializer=pb.Heartbeat.SerializeToString,
        )()
        try:
            _log.info("reporting to master", master=address.http)
            return await _Connection(self, stream).run()
        except _BROKEN as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
            _log.warning("heartbeat ended", master=address.http, code=code)
        finally:
            stream.cancel()
            await channel.close()
        return None

    async def _left_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._masters.leaving.wait()
        except TimeoutError:
            return False
        return True

    def _note(self, change: Change) -> None:
        if len(self._changes) < CHANGES_MAX:
            self._changes.append(change)
        else:
            self._overflown = True  # a full list will say it
        self._wake.set()

    def _taken_changes(self) -> list[Change]:
        taken = self._changes.copy()
        self._changes.clear()
        return taken


class _Connection:
    """One stream. Only `run` writes to it; `_read` tells it by the fields below what the master wants."""

    def __init__(self, heartbeat: Heartbeat, stream: Any) -> None:
        self._heartbeat: Final = heartbeat
        self._masters: Final = heartbeat._masters
        self._reported: Final = heartbeat._reported
        self._stream: Final = stream
        self._messages: Final = HeartbeatMessages(heartbeat._options)
        self._full_is_due = True
        self._digest_is_known = False
        self._at_once = False
        """The limits changed: do not wait for the pulse."""

    async def run(self) -> _End | None:
        """Send what is due until the stream ends, or a reason to end it comes."""
        reading = asyncio.create_task(self._read())
        leaving = asyncio.create_task(self._masters.leaving.wait())
        try:
            return await self._report(reading, leaving)
        except _BROKEN:
            # A master says why and ends the stream: our message may meet the end before we read the reason.
            await asyncio.wait({reading}, timeout=REASON_S_MAX)
            # A message that takes too long cancels the call, and so the reading.
            was_read = reading.done() and not reading.cancelled() and reading.exception() is None
            if was_read and reading.result() is not None:
                return reading.result()
            raise
        finally:
            for task in (reading, leaving):
                task.cancel()
            await asyncio.gather(reading, leaving, return_exceptions=True)

    async def _report(self, reading: asyncio.Task[_End | None], leaving: asyncio.Task[Any]) -> _End | None:
        pace, loop, wake = self._heartbeat._pace, asyncio.get_running_loop(), self._heartbeat._wake
        await self._send_volumes()
        await self._send(self._messages.ec_shards())
        pulse, pulses = loop.time() + pace.pulse_s, 0
        while True:
            waking = asyncio.create_task(wake.wait())
            try:
                await asyncio.wait(
                    {reading, leaving, waking},
                    timeout=max(0.0, pulse - loop.time()),
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                waking.cancel()
            if leaving.done():
                await self._say_farewell(reading)
                return _Left()
            if reading.done():
                return reading.result()
            wake.clear()
            await self._send_changes()
            if loop.time() >= pulse:
                pulse, pulses = loop.time() + pace.pulse_s, pulses + 1
                await self._send_volumes()
                if pulses % pace.pulses_for_shards == 0:
                    await self._send(self._messages.ec_shards())
            elif self._at_once:
                await self._send_volumes()

    async def _read(self) -> _End | None:
        """Obey the master; the result says why the stream has to end, None that the master ended it."""
        while (raw := await self._stream.read()) is not grpc.aio.EOF:
            answer = decoded(pb.HeartbeatResponse, raw)
            if answer.duplicated_uuids:
                return _Duplicates()
            if self._reported.take_limits(answer.volume_size_limit, answer.preallocate):
                self._at_once = True
                self._heartbeat._wake.set()
            if answer.volume_digest_supported:
                self._digest_is_known = True
            if answer.resend_full_volume_list:
                _log.debug("master asks for all volumes")
                self._full_is_due = True
            if answer.leader and (leader := _other(answer.leader, self._masters.current)) is not None:
                return _Leader(leader)
        return None

    async def _send_volumes(self) -> None:
        disks = self._reported.disk_reports()
        reports = self._reported.reports()
        full = self._full_is_due or not self._digest_is_known or self._heartbeat._overflown
        if full:
            # The list says all that was noted. A wish for another one that comes from here on stands.
            self._heartbeat._taken_changes()
            self._heartbeat._overflown = False
            self._full_is_due = False
        self._at_once = False
        await self._send(self._messages.volumes(reports, disks, full=full))

    async def _send_changes(self) -> None:
        for run in runs_of_one_kind(self._heartbeat._taken_changes()):
            await self._send(self._messages.changes(run))
        if self._heartbeat._overflown:
            await self._send_volumes()

    async def _say_farewell(self, reading: asyncio.Task[_End | None]) -> None:
        async with asyncio.timeout(FAREWELL_S_MAX):
            await self._stream.write(self._messages.farewell())
            await self._stream.done_writing()
        # The master ends the stream when it has read this; cancelled before, the message might be lost.
        await asyncio.wait({reading}, timeout=HEARD_S_MAX)

    async def _send(self, message: pb.Heartbeat) -> None:
        async with asyncio.timeout(self._heartbeat._pace.send_s_max):
            await self._stream.write(message)


def _other(text: str, current: Address | None) -> Address | None:
    """The leader that a master names, unless it is that master, or no address."""
    try:
        leader = parse_address(text)
    except ValueError:
        _log.warning("master names a leader that is no address")
        return None
    return None if current is not None and leader.http == current.http else leader
