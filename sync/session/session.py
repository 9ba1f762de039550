"""One connection, from accept to close: handshake, order of requests, deadlines, close.

Messages are handled strictly in order of arrival, with two exceptions (docs/protocol.md 4): consecutive
pushes may wait in the database's lanes together, their replies leaving in order; long answers run beside all
else. Whatever must wait (for a running request, for pushes, for the peer to read) stays in a bounded backlog,
and a full backlog pauses the socket.

At most one item is *held*: it was taken off the backlog and decoded, and then found that it must wait. It
goes first when something has ended, before the backlog is looked at again, so order is kept and nothing is
decoded twice. Its params are made typed: raw ones may be many times as large as their frame.

No task exists while nothing is being handled: an idle session costs its objects and one timer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Protocol
from uuid import UUID

import structlog

from less_sync.auth import AuthError, Identity, TokenCheck
from less_sync.storage import DekKind
from less_sync.sync.access.grants import has_scope
from less_sync.sync.access.person import connection_key
from less_sync.sync.access.sign_in import auth_failure
from less_sync.sync.call import Call
from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.connection import Authenticate, Connection, State
from less_sync.sync.protocol.errors import RemoteProtocolError
from less_sync.sync.protocol.frames import Notification, Request
from less_sync.sync.rpc import dispatch
from less_sync.sync.rpc.dispatch import Method, PushMethod, Work
from less_sync.sync.services import Services
from less_sync.sync.session.conduct import Conduct
from less_sync.sync.session.expiry import ExpiryWatch
from less_sync.sync.session.large_frames import LARGE_FRAME_BYTES
from less_sync.sync.session.long_answers import LongAnswers
from less_sync.sync.session.memory import SessionMemory
from less_sync.sync.session.outbound import Wire
from less_sync.sync.session.presence_roll import PresenceRoll
from less_sync.sync.session.token_bucket import TokenBucket, Verdict

log = structlog.get_logger(__name__)

_TEXT = b"text"  # stands in the backlog for a text message; compared by identity
_NOBODY = Identity(issuer="", user_id="", client_id="")


class SessionWire(Wire, Protocol):
    """What a session needs of its socket beyond writing."""

    def accepted(self) -> None:
        """The token was accepted: what came behind it may be read."""

    def send_close(self, close: Close) -> None:
        """Send the close frame after what is already written, then wait for the peer to close."""

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class _PendingPush:
    """The place of one push's reply among those of its session."""

    __slots__ = ("payload", "session")

    def __init__(self, session: "Session") -> None:
        self.session = session
        self.payload: bytes | None = None

    def reply(self, payload: bytes) -> None:
        self.payload = payload
        self.session.push_answered()


class Session:
    """Drives one connection. Called by the socket on the event loop; never blocks it, never raises to it.

    Args:
        conduct: how connections of this kind are treated.
        identity: who speaks, where that is known already; None when the first message has to tell.
        long_answers: makes the background worker.
    """

    __slots__ = (
        "_backlog",
        "_backlog_bytes",
        "_bucket",
        "_busy",
        "_conduct",
        "_connection",
        "_drain_timer",
        "_expiry",
        "_handshake_timer",
        "_heartbeat",
        "_held",
        "_lifetime",
        "_limits",
        "_long_answers",
        "_loop",
        "_memory",
        "_out",
        "_pumping",
        "_pushes",
        "_reading_paused",
        "_retiring",
        "_roll",
        "_running",
        "_services",
        "_silent_beats",
        "_wire",
        "_writing",
        "closing",
        "heard",
        "identity",
        "person",
    )

    def __init__(
        self,
        services: Services,
        wire: SessionWire,
        conduct: Conduct,
        *,
        identity: Identity | None = None,
        long_answers: Callable[..., LongAnswers] = LongAnswers,
    ) -> None:
        limits = conduct.limits
        self._services = services
        self._conduct = conduct
        self._limits = limits
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._out = conduct.outbound(wire, self, limits, new_id=services.new_id, cork=services.broker.cork)
        self._connection = Connection(services.frame_bounds)
        self._backlog: deque[bytes | Close] = deque()
        self._backlog_bytes = 0
        self._held: Request | Notification | Close | None = None
        self._pushes: deque[_PendingPush] = deque()
        self._long_answers = long_answers(
            self._out,
            waiting_max=limits.pulls_waiting,
            on_room=self._pump,
            at_once=conduct.long_answers_at_once,
        )
        self._roll: PresenceRoll | None = None
        self._pumping = False
        self._busy = False
        self._running: asyncio.Task[None] | None = None
        """What runs and ends with the session; a request that writes is not here, it ends by itself."""
        self._writing = False
        self._reading_paused = False
        self._lifetime: asyncio.TimerHandle | None = None
        self._drain_timer: asyncio.TimerHandle | None = None
        self._retiring: Close | None = None
        self._bucket: TokenBucket | None = None
        self._memory: SessionMemory | None = None
        self._expiry = ExpiryWatch(services, self._out, self._retire_in_time)
        self._silent_beats = 0
        self.identity: Identity = _NOBODY
        self.person = ""
        """Under which connections of one person are counted and take turns; "" until the token was accepted.
        """
        self.heard = True
        self.closing = False
        self._handshake_timer: asyncio.TimerHandle | None = self._loop.call_later(
            limits.auth_timeout_s, self.close, codes.AUTH_TIMEOUT
        )
        self._heartbeat = self._loop.call_later(limits.keepalive_interval_s, self._beat)
        services.sessions.opened(self)
        if identity is not None:
            self._connection.known()
            self._admit_identity(identity)

    # What the socket reports.

    def binary_received(self, data: bytes) -> None:
        """One complete binary message."""
        self._backlog.append(data)
        self._backlog_bytes += len(data)
        self._pump()

    def text_received(self) -> None:
        """One complete text message: a violation, whatever it says (its UTF-8 is not looked at)."""
        self._backlog.append(_TEXT)
        self._pump()

    def violated(self, close: Close) -> None:
        """The peer broke the protocol below the frames: close once what came before is handled."""
        self._backlog.append(close)
        self._pump()

    def writing_paused(self) -> None:
        """The transport's buffer is over its high-water mark."""
        self._out.paused()

    def writing_resumed(self) -> None:
        """The transport's buffer is below its low-water mark."""
        self._out.resumed()

    def lost(self) -> None:
        """The connection is gone, or the peer's close frame came: nothing more is sent."""
        self._out.lost()
        self._end(None)
        self._connection.lost()

    # What the sending half reports.

    @property
    def silent_s(self) -> float:
        """For how long the peer has not answered, in whole keepalive intervals."""
        return 0.0 if self.heard else max(0, self._silent_beats - 1) * self._limits.keepalive_interval_s

    def fell_behind(self) -> None:
        """Too many notifications wait for this peer."""
        self.end_soon(codes.SLOW_CONSUMER)

    def end_soon(self, close: Close) -> None:
        """Close in the next turn: the broker may be walking its subscribers, and teardown changes them."""
        self._loop.call_soon(self.close, close)

    def writable_again(self) -> None:
        """Go on with what waited for the peer to read."""
        self._pump()

    # The handshake.

    def _authenticate(self, shown: Authenticate) -> None:
        try:
            identity = self._services.authenticator.identify_cached(shown.token, shown.did_proof)
        except AuthError as error:
            self.close(auth_failure(error).close)
            return
        if identity is not None:
            self._admit_identity(identity)
        else:
            self._restart_handshake_timer()
            self._start(lambda: self._identify(shown))

    def _restart_handshake_timer(self) -> None:
        """From the first message on, the rest of the time for the whole handshake bounds key fetches.

        That they take long is no fault of the client, who would stay away for good after 4000.
        """
        limits = self._limits
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        rest_s = max(0.0, limits.handshake_timeout_s - limits.auth_timeout_s)
        self._handshake_timer = self._loop.call_later(rest_s, self.close, codes.AUTH_UNAVAILABLE)

    async def _identify(self, shown: Authenticate) -> None:
        try:
            identity = await self._services.authenticator.identify(shown.token, shown.did_proof)
        except AuthError as error:
            self.close(auth_failure(error).close)
        else:
            self._admit_identity(identity)

    def _admit_identity(self, identity: Identity) -> None:
        if self.closing:
            return
        if not has_scope(identity, "sync"):
            self._services.authenticator.refused(TokenCheck.SCOPE)
            self.close(codes.SYNC_SCOPE_REQUIRED)
            return
        person = connection_key(identity)
        conduct, limits, services = self._conduct, self._limits, self._services
        refused = conduct.places.take(person, self._out)
        if refused is not None:
            self.close(refused)
            return
        self.person = person
        self.identity = identity
        if conduct.reads_mailbox:
            services.mailboxes.join(identity.mailbox, self._out)
        self._connection.authenticated()
        services.sessions.authenticated(self)
        services.metrics.session_admitted(conduct.kind)
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None
        spread = services.chance.uniform(1 - limits.lifetime_jitter, 1 + limits.lifetime_jitter)
        self._lifetime = self._loop.call_later(
            limits.lifetime_s * spread, self._retire_in_time, conduct.end_of_life
        )
        self._expiry.token_changed(identity)
        self._wire.accepted()
        self._pump()

    def adopt(self, identity: Identity) -> None:
        """Replace the whole identity after `token.refresh`; the connection's place stays counted as before.

        What the old identity alone could read is not heard of any more (docs/protocol.md 5.3).
        """
        old, self.identity = self.identity, identity
        services = self._services
        ended: list[UUID] = []
        if old.personal_space is not None and old.personal_space != identity.personal_space:
            ended.append(old.personal_space)
        if old.did != identity.did:
            ended += services.broker.holds(self._out)
        services.announce.end_subscriptions(self._out, ended)
        if old.mailbox != identity.mailbox:
            services.mailboxes.leave(old.mailbox, self._out)
            services.mailboxes.join(identity.mailbox, self._out)
        self._expiry.token_changed(identity)

    # What handlers ask of their session.

    def may_send(self) -> bool:
        """Count one presence update or event; a flood of them ends the session (docs/protocol.md 8.1)."""
        if self._bucket is None:
            limits = self._limits
            self._bucket = TokenBucket(
                per_s=limits.transient_per_s, burst=limits.transient_burst, now_s=self._loop.time()
            )
        verdict = self._bucket.take(self._loop.time())
        if verdict is Verdict.CLOSE:
            self.close(codes.RATE_LIMITED)
        return verdict is Verdict.PASS

    def tell_presence(self, spaces: Iterable[UUID]) -> None:
        """Send who is present in these spaces, behind the answer of the request that asks for it."""
        if self.closing:
            return
        if self._roll is None:
            self._roll = PresenceRoll(self._services, self._out)
        self._roll.add(spaces)

    def warn_once(self, space: UUID) -> bool:
        """True the first time for this space."""
        return self._remembered().warn_once(space)

    def note_read(self, kind: DekKind, space: UUID, cursor: int) -> None:
        """Remember up to which cursor this session has read a space's DEKs."""
        self._remembered().note_read(kind, space, cursor)

    def read_up_to(self, kind: DekKind, space: UUID) -> int | None:
        """The cursor of the last `note_read`; None when there was none."""
        return None if self._memory is None else self._memory.read_up_to(kind, space)

    def _remembered(self) -> SessionMemory:
        if self._memory is None:
            self._memory = SessionMemory(self._limits.spaces_per_session)
        return self._memory

    def subscriptions_changed(self) -> None:
        """Wake when the first of the tokens that subscriptions rest on expires."""
        if not self.closing:
            self._expiry.subscriptions_changed()

    # Requests in order.

    def _pump(self) -> None:
        """Handle what waits, until something must be waited for.

        Called whenever something has ended or arrived. It may be called from within, by what it starts: the
        outer loop then goes on by itself.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self.closing and not self._busy and self._out.ready and self._handle_next():
                pass
        finally:
            self._pumping = False
        self._regulate_reading()
        if self._retiring is not None and self.idle:
            self.close(self._retiring)

    def _handle_next(self) -> bool:
        """Take one item on its way; False when there is none, or it must wait for what runs already."""
        item, self._held = self._held, None
        if item is None:
            if not self._backlog or self._connection.state is State.AUTHENTICATING:
                return False
            data = self._backlog[0]
            large = type(data) is bytes and len(data) > LARGE_FRAME_BYTES
            if large and not self._services.large_frames.take(self.person, self._pump):
                return False
            item = self._decode_next()
            if item is None:
                return True
        if not self._handle(item):
            self._held = item if isinstance(item, Close) else self._conduct.table.typed(item, self._limits)
            return False
        return True

    def _decode_next(self) -> Request | Notification | Close | None:
        data = self._backlog.popleft()
        if isinstance(data, Close):
            return data
        try:
            if data is _TEXT:
                self._connection.receive_text()
            self._backlog_bytes -= len(data)
            event = self._connection.receive_binary(data)
        except RemoteProtocolError as error:
            return error.close
        if isinstance(event, Authenticate):
            self._authenticate(event)
            return None
        return event

    def _handle(self, item: Request | Notification | Close) -> bool:
        """Start one item; False when it must wait for what runs already."""
        row = None
        if type(item) is Request:
            row = self._conduct.table.methods.get(item.method)
            if type(row) is PushMethod:
                return self._submit(item, row)
        if self._pushes:
            return False
        if isinstance(item, Close):
            self.close(item)
            return True
        if self._retiring is not None:
            return False
        if isinstance(item, Notification):
            notice = self._conduct.table.notices.get(item.method)
            work = None if notice is None else notice.run(self._call(""), item.params)
            if work is not None:
                self._start(work)
            return True
        if not isinstance(row, Method):
            self._out.send(dispatch.unknown_method(self._services.metrics, item, self._limits))
            return True
        if row.background:
            return self._long_answers.add(dispatch.prepare(self._call(item.id), item.params, row))
        self._begin(dispatch.prepare(self._call(item.id), item.params, row))
        return True

    def _call(self, request_id: str) -> Call:
        return Call(self._services, self, self.identity, self._out, request_id)

    def _submit(self, request: Request, row: PushMethod) -> bool:
        if self._retiring is not None:
            return False
        pushes = self._services.pushes
        if len(self._pushes) >= self._limits.pushes_in_flight:
            return False
        if pushes.congested(self.person):
            self._start(lambda: pushes.uncongested(self.person))
            return False
        pending = _PendingPush(self)
        self._pushes.append(pending)
        first = row.submit(self._call(request.id), request.params, pending.reply)
        if first is not None:
            self._start(first)
        return True

    def push_answered(self) -> None:
        """Send the replies of pushes that are next in line, then go on."""
        pushes = self._pushes
        while pushes and (payload := pushes[0].payload) is not None:
            pushes.popleft()
            self._out.send(payload)
        self._pump()

    def _begin(self, request: dispatch.Prepared) -> None:
        """Run one request to its end before the next message is looked at.

        One that writes is given away: it must come to its end, and to its announcement, even if this session
        ends now. The person's place stays taken until then, so nobody can pile up writes by hanging up.
        """
        if request.row.writes:
            self._busy = self._writing = True
            self._services.announce.own(lambda: self._until_done(lambda: self._answer(request)))
        else:
            self._start(lambda: self._answer(request))

    def _start(self, work: Work) -> None:
        """Run one thing that ends with the session, before the next message is looked at."""
        self._busy = True
        self._running = self._loop.create_task(self._until_done(work))

    async def _until_done(self, work: Work) -> None:
        # Not a coroutine but what makes one: a task cancelled before its first step would leave it unawaited.
        try:
            await work()
        except Exception:
            log.exception("session task failed")
        finally:
            self._busy = self._writing = False
            self._running = None
            if self.closing:
                self._give_place_back()
            else:
                self._pump()

    async def _answer(self, request: dispatch.Prepared) -> None:
        self._out.send(await request.answer())
        if self._roll is not None and not self.closing:
            self._long_answers.tell(self._roll.tell)

    # Back-pressure on the peer.

    def _regulate_reading(self) -> None:
        if self.closing:
            return  # the socket discards what comes, up to the peer's close frame
        limits, frames, size_bytes = self._limits, len(self._backlog), self._backlog_bytes
        if self._reading_paused:
            if frames * 2 <= limits.backlog_frames and size_bytes * 2 <= limits.backlog_bytes:
                self._reading_paused = False
                self._wire.resume_reading()
        elif frames >= limits.backlog_frames or size_bytes >= limits.backlog_bytes:
            self._reading_paused = True
            self._wire.pause_reading()

    # Timers.

    def _beat(self) -> None:
        """Every keepalive interval from accept on: say we live, and see whether the peer does."""
        limits = self._limits
        if self.heard:
            self.heard = False
            self._silent_beats = 0
        elif self._silent_beats * limits.keepalive_interval_s >= limits.silence_timeout_s:
            self._wire.abort()
            return
        if self._out.ready:  # who is behind with reading cannot be asked: the write deadline looks after him
            self._silent_beats += 1
            self._out.deliver(self._wire.heartbeat)
        self._heartbeat = self._loop.call_later(limits.keepalive_interval_s, self._beat)

    # The end.

    @property
    def idle(self) -> bool:
        """True while no request is being handled and everything was handed to the transport."""
        return not self._busy and self._long_answers.idle and not self._pushes and self._out.ready

    def _retire_in_time(self, close: Close) -> None:
        self.retire(close, within_s=self._limits.drain_timeout_s)

    def retire(self, close: Close, *, within_s: float) -> None:
        """Take nothing more on; close once what is under way is answered and handed to the transport.

        Args:
            within_s: after so long it is closed in any case. A retirement may be hastened, not put off.
        """
        if self.closing:
            return
        if self._retiring is None:
            self._retiring = close
        if self._drain_timer is not None:
            within_s = min(within_s, self._drain_timer.when() - self._loop.time())
            self._drain_timer.cancel()
        if self.idle or within_s <= 0:
            self.close(self._retiring)
        else:
            self._drain_timer = self._loop.call_later(within_s, self.close, self._retiring)

    def close(self, close: Close) -> None:
        """Send one close frame ahead of what is queued, and end. Later calls do nothing."""
        if self.closing:
            return
        self._connection.close(close)
        self._out.discard()
        self._end(close)
        if self._reading_paused:
            self._reading_paused = False
            self._wire.resume_reading()  # input is discarded until the peer closes
        log.debug("session closed", code=int(close.code), reason=close.reason)
        self._wire.send_close(close)

    def _end(self, close: Close | None) -> None:
        if self.closing:
            return
        self.closing = True
        self._backlog.clear()
        self._backlog_bytes = 0
        self._held = None
        for timer in (self._handshake_timer, self._heartbeat, self._lifetime, self._drain_timer):
            if timer is not None:
                timer.cancel()
        self._expiry.stop()
        self._long_answers.cancel()
        if self._running is not None:
            self._running.cancel()
        services = self._services
        if self.person:
            services.mailboxes.leave(self.identity.mailbox, self._out)
            services.announce.end_session(self._out, present=self._out.named)
        services.sessions.closed(self)
        kind = self._conduct.kind if self.person else None
        services.metrics.session_ended(kind, close, self._out.dropped)
        if not self._writing:
            self._give_place_back()

    def _give_place_back(self) -> None:
        """Once the session has ended and nothing of it writes any more."""
        if self.person:
            self._conduct.places.give_back(self.person, self._out)
            self.person = ""
