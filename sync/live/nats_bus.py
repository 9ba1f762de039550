"""The bus over NATS: one connection at a time, kept up for as long as the node lives (docs/scaling.md 3.1).

Everything that is written waits in one *outbox* in order, so that a question never overtakes the subscription
by which its answers come, and one task writes it. Subscriptions are remembered here: a new connection gets
all of them, and counts as there once the server has taken them.
"""

import asyncio
import math
import random
from contextlib import suppress
from itertools import islice
from typing import Final

import structlog

from less_sync.sync.live.bus import CONFIRM_S_MAX, Hear, Reconnected
from less_sync.sync.live.nats_link import NatsAccess, NatsAddress, NatsError, NatsLink, Pings

OUTBOX_MESSAGES_MAX: Final = 16_384
OUTBOX_BYTES_MAX: Final = 16 << 20
"""What waits beyond either is dropped: a server that does not read is noticed after seconds."""
COMMANDS_MAX: Final = 1 << 18
"""Commands that wait. Beyond it the connection is given up: the next one is told what is listened to then."""
SUBSCRIPTIONS_A_WRITE: Final = 1000
GATHER_S: Final = 0.003
BUSY_MESSAGES: Final = 4
"""From so many within `GATHER_S` on they go together at its end: each write wakes other processes."""
PAUSE_S_MIN: Final = 0.1
PAUSE_S_MAX: Final = 2.0
"""Between two attempts: doubled with each round over all servers, and half of it by chance."""
LASTING_S: Final = 5.0
"""A connection that held for so long is replaced at once."""
REMIND_S: Final = 60.0
"""How often the log repeats that the bus is away, or that something is refused."""

_log = structlog.get_logger(__name__)


class NatsBus:
    """Implements `Bus` on a NATS. `run` keeps the connection and is to be a vital task.

    Args:
        access: the servers; one of them by chance is asked first, the next one when it is lost.
        prefix: what every subject begins with, `less-sync`; tells the clusters of one NATS apart.
        name: how the NATS's own monitoring calls this node.
        pings: when a silent server is given up.
    """

    def __init__(self, access: NatsAccess, *, prefix: str, name: str, pings: Pings | None = None) -> None:
        self.connected = False
        """Whether a server has taken all subscriptions. What is published otherwise is dropped."""
        self.published = 0
        """Messages handed to a connection."""
        self.writes = 0
        """Times that some were: under load fewer than messages."""
        self.received = 0
        self.dropped = 0
        """Messages that were not sent: away, too much waits, or longer than the server allows."""
        self.reconnects = 0
        """Connections after the first one."""
        self.refused = 0
        """Subjects that the server does not permit."""
        self.faults = 0
        """Messages whose reading failed here, which is a fault of this program."""
        self._access: Final = access
        self._servers: Final = random.sample(access.servers, len(access.servers))
        self._prefix: Final = f"{prefix}.".encode()
        self._name: Final = name
        self._pings: Final = pings or Pings()
        self._hear: Hear | None = None
        self._reconnected: Reconnected | None = None
        self._sids: Final[dict[str, int]] = {}
        self._last_sid = 0
        self._link: NatsLink | None = None
        self._outbox: list[bytes] = []
        self._outbox_messages = 0
        self._outbox_bytes = 0
        self._message_bytes_max = 0
        self._wake: Final = asyncio.Event()
        # `_confirmed_sid` is the last one that a PONG covers. A round is a PING and those who wait for it.
        self._confirmed_sid = 0
        self._round: asyncio.Future[bool] | None = None
        self._round_sid = 0
        self._next_round: asyncio.Future[bool] | None = None
        self._there_since_s = math.inf
        self._reports: Final = _Reports()

    @property
    def subjects(self) -> int:
        """How many are listened to."""
        return len(self._sids)

    def attach(self, hear: Hear, reconnected: Reconnected) -> None:
        """Say who takes what comes, and who is told of each connection, the first one too."""
        assert self._hear is None, "attached twice"
        self._hear, self._reconnected = hear, reconnected

    def publish(self, subject: str, message: bytes) -> None:
        """Send to whoever listens. Dropped, and counted, when it cannot go soon."""
        size = len(message)
        if (
            not self.connected
            or size > self._message_bytes_max
            or self._outbox_messages >= OUTBOX_MESSAGES_MAX
            or self._outbox_bytes + size > OUTBOX_BYTES_MAX
        ):
            self.dropped += 1
            return
        self._outbox.append(b"PUB %b%b %d\r\n%b\r\n" % (self._prefix, subject.encode(), size, message))
        self._outbox_messages += 1
        self._outbox_bytes += size
        self._wake.set()

    def listen(self, subject: str) -> None:
        """Hear of a subject. Sent at once, or with the next connection."""
        if subject in self._sids:
            return
        if "*" in subject or ">" in subject or " " in subject or "\r" in subject or "\n" in subject:
            # A wildcard would hear everybody.
            raise ValueError(f"not a subject of ours: {subject!r}")
        self._last_sid += 1
        self._sids[subject] = self._last_sid
        if self._link is not None:
            self._command(self._subscription(subject, self._last_sid))

    def leave(self, subject: str) -> None:
        """Hear of it no more; a message under way may still come."""
        sid = self._sids.pop(subject, None)
        if sid is not None and self._link is not None:
            self._command(b"UNSUB %d\r\n" % sid)

    async def confirmed(self) -> bool:
        """Wait until the server has taken what was listened to so far, for `CONFIRM_S_MAX` at most."""
        if not self.connected:
            return False
        wanted = self._last_sid
        if self._confirmed_sid >= wanted:
            return True
        if self._round is not None and self._round_sid >= wanted:
            answer = self._round
        else:
            if self._next_round is None:
                self._next_round = asyncio.get_running_loop().create_future()
            answer = self._next_round
            self._wake.set()
        # Not cancelled when the time is up, or when one who waits is: others wait for it too.
        await asyncio.wait({answer}, timeout=CONFIRM_S_MAX)
        return answer.done() and answer.result()

    async def run(self) -> None:
        """Keep a connection, for ever. Cancelled, it sends what waits and hangs up."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            address = self._servers[0]
            self._servers.append(self._servers.pop(0))
            self._there_since_s = math.inf
            reason = await self._serve(address)
            _heed_cancellation()
            lasted = clock() - self._there_since_s >= LASTING_S
            failures = 0 if lasted else failures + 1
            self._reports.away(address, reason, clock())
            if failures:
                doublings = min(16, (failures - 1) // len(self._servers))
                await asyncio.sleep(min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0**doublings) * random.uniform(0.5, 1.0))

    async def _serve(self, address: NatsAddress) -> str:
        """Use one connection until it is lost, and say why; or why there is none."""
        link = NatsLink(self._take, self._note_refused)
        tasks: list[asyncio.Task[str]] = []
        politely = False
        try:
            await link.open(address, self._access, self._name, self._pings)
            _heed_cancellation()
            tasks.append(asyncio.create_task(self._write(link, address), name="bus writer"))
            tasks.append(asyncio.create_task(link.wait_lost(), name="bus loss"))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        except NatsError as error:
            return str(error)
        except asyncio.CancelledError:
            # What was published last is that this node is gone.
            politely = self.connected
            if politely:
                with suppress(OSError):
                    link.write(self._unload())
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await link.close_link(politely=politely)

    async def _write(self, link: NatsLink, address: NatsAddress) -> str:
        """Send all subscriptions, then what comes, until cancelled; or say why that is not possible."""
        try:
            self._link, self._message_bytes_max = link, link.max_payload
            # What is listened to from here on follows these in the outbox.
            sids, last_sid = iter(list(self._sids.items())), self._last_sid
            self._confirmed_sid = 0
            while commands := [self._subscription(*pair) for pair in islice(sids, SUBSCRIPTIONS_A_WRITE)]:
                link.write(commands)
                await link.drained()
                await asyncio.sleep(0)  # a fast server never makes this wait, and others have their turn too
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._begin_round(link, answer, last_sid)
            await asyncio.wait({answer})
            self._note_there(address)
            clock, since_s, count = asyncio.get_running_loop().time, -math.inf, 0
            while True:
                await self._wake.wait()
                # `count` messages have left since `since_s`.
                early_s = since_s + GATHER_S - clock()
                if early_s > 0 and count + len(self._outbox) >= BUSY_MESSAGES:
                    await asyncio.sleep(early_s)
                    early_s = 0.0
                if early_s <= 0:
                    since_s, count = clock(), 0
                self._wake.clear()
                if batch := self._unload():
                    link.write(batch)
                    self.writes += 1
                    count += len(batch)
                if self._next_round is not None and self._round is None:
                    self._begin_round(link, self._next_round, self._last_sid)
                    self._next_round = None
                await link.drained()
        except OSError as error:
            return str(error) or "it hung up"
        finally:
            self.connected = False
            self._link = None
            self.dropped += self._outbox_messages
            self._outbox = []
            self._outbox_messages = self._outbox_bytes = 0
            for waiting in (self._round, self._next_round):
                if waiting is not None and not waiting.done():
                    waiting.set_result(False)
            self._round = self._next_round = None

    def _unload(self) -> list[bytes]:
        """Take what waits, which then counts as sent."""
        batch, self._outbox = self._outbox, []
        self.published += self._outbox_messages
        self._outbox_messages = self._outbox_bytes = 0
        return batch

    def _begin_round(self, link: NatsLink, answer: "asyncio.Future[bool]", last_sid: int) -> None:
        self._round, self._round_sid = answer, last_sid
        link.ping(self._answered)

    def _note_there(self, address: NatsAddress) -> None:
        if self._reports.there(address):
            self.reconnects += 1
        self.connected = True
        self._there_since_s = asyncio.get_running_loop().time()
        try:
            if self._reconnected is not None:
                self._reconnected()
        except Exception:
            self._note_fault()

    def _answered(self) -> None:
        """A PONG: the server has taken all that was written before its PING."""
        if self._round is None:
            return
        self._confirmed_sid = self._round_sid
        self._round.set_result(True)
        self._round = None
        if self._next_round is not None:
            self._wake.set()

    def _subscription(self, subject: str, sid: int) -> bytes:
        return b"SUB %b%b %d\r\n" % (self._prefix, subject.encode(), sid)

    def _command(self, command: bytes) -> None:
        assert self._link is not None
        if len(self._outbox) >= COMMANDS_MAX:
            self._link.give_up("too many subscriptions wait")
            return
        self._outbox.append(command)
        self._wake.set()

    def _take(self, message: bytes) -> None:
        """One message. Whatever goes wrong with it stays here: the connection would end without a word."""
        self.received += 1
        try:
            if self._hear is not None:
                self._hear(message)
        except Exception:
            self._note_fault()

    def _note_fault(self) -> None:
        self.faults += 1
        if self._reports.due("fault", asyncio.get_running_loop().time()):
            _log.error("what the bus brought could not be read", faults=self.faults, exc_info=True)

    def _note_refused(self, what: str) -> None:
        self.refused += 1
        if self._reports.due("refused", asyncio.get_running_loop().time()):
            _log.error("NATS does not permit what the bus needs", reason=what, refused=self.refused)


def _heed_cancellation() -> None:
    """End here if this task was cancelled while it connected: what waits there may have swallowed that.

    nats-py does in one place, and `asyncio.wait_for` before Python 3.12 when its work is done that instant.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Reports:
    """What the log is told: each change once, and what lasts every `REMIND_S`."""

    def __init__(self) -> None:
        self._is_there = False
        self._was_there = False
        self._last_s: Final[dict[str, float]] = {}

    def there(self, address: NatsAddress) -> bool:
        """A connection is there; was there one before?"""
        again, self._is_there, self._was_there = self._was_there, True, True
        _log.info("the bus is connected", server=str(address))
        return again

    def away(self, address: NatsAddress, reason: str, now_s: float) -> None:
        """There is none, or no more."""
        changed, self._is_there = self._is_there, False
        if self.due("away", now_s) or changed:
            self._last_s["away"] = now_s
            _log.warning("the bus is away", server=str(address), reason=reason)

    def due(self, what: str, now_s: float) -> bool:
        """Whether the log was not told of it lately."""
        due = now_s - self._last_s.get(what, -REMIND_S) >= REMIND_S
        if due:
            self._last_s[what] = now_s
        return due
