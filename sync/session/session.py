"""One client connection, from accept to close: handshake, order of requests, deadlines, close.

Messages are handled strictly in order of arrival, with two exceptions (protocol G15): consecutive pushes
may wait in the database's lanes together, their replies leaving in order; pulls run one after another in a
background task. Whatever must wait (for a running request, for pushes, for the peer to read) stays in a
bounded backlog, and a full backlog pauses the socket.

No task exists while nothing is being handled: an idle session costs its objects and one timer.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Coroutine
from typing import Protocol
from uuid import UUID

import structlog

from less_sync.auth import AuthError, Identity
from less_sync.storage import DekKind
from less_sync.sync.access.rules import has_scope
from less_sync.sync.access.sign_in import auth_failure
from less_sync.sync.call import Call, connection_key
from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.connection import Authenticate, Connection, State
from less_sync.sync.protocol.errors import RemoteProtocolError
from less_sync.sync.protocol.frames import KEEPALIVE, Notification, Request, ws_frame
from less_sync.sync.rpc import dispatch
from less_sync.sync.rpc.dispatch import Method, PushMethod
from less_sync.sync.rpc.presence import announce_leave, end_subscriptions
from less_sync.sync.rpc.registry import METHODS, NOTIFICATIONS
from less_sync.sync.services import Services
from less_sync.sync.session.expiry import ExpiryWatch
from less_sync.sync.session.long_answers import BackgroundRequests
from less_sync.sync.session.outbound import Outbound, Wire
from less_sync.sync.session.token_bucket import RateBucket, Verdict

log = structlog.get_logger(__name__)

_PING = b"\x89\x00"
_HEARTBEAT = ws_frame(KEEPALIVE) + _PING
_TEXT = b"text"  # stands in the backlog for a text message; compared by identity
_NOBODY = Identity(issuer="", user_id="", client_id="")


class SessionWire(Wire, Protocol):
    """What a session needs of its socket beyond writing."""

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
    """Drives one connection. Called by the socket on the event loop; never blocks it, never raises to it."""

    __slots__ = (
        "_background",
        "_backlog",
        "_backlog_bytes",
        "_bucket",
        "_busy",
        "_connection",
        "_connection_key",
        "_expiry",
        "_handshake_timer",
        "_heartbeat",
        "_held",
        "_lifetime",
        "_limits",
        "_loop",
        "_out",
        "_pumping",
        "_pushes",
        "_read_cursors",
        "_reading_paused",
        "_services",
        "_silent_beats",
        "_tasks",
        "_wire",
        "closing",
        "draining",
        "heard",
        "identity",
    )

    def __init__(self, services: Services, wire: SessionWire) -> None:
        self._services = services
        self._limits = services.limits
        self._wire = wire
        self._loop = asyncio.get_running_loop()
        self._out = Outbound(wire, self, services.limits)
        self._connection = Connection(
            request_id_bytes_max=services.limits.request_id_bytes, depth_max=services.limits.cbor_depth
        )
        self._backlog: deque[bytes | Close] = deque()
        self._backlog_bytes = 0
        self._held: Request | Notification | Close | None = None
        self._pushes: deque[_PendingPush] = deque()
        self._background = BackgroundRequests(
            self._out, waiting_max=services.limits.pulls_waiting, on_room=self._pump
        )
        self._pumping = False
        self._busy = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading_paused = False
        self._connection_key: str | None = None
        self._lifetime: asyncio.TimerHandle | None = None
        self._bucket: RateBucket | None = None
        self._read_cursors: OrderedDict[tuple[DekKind, UUID], int] | None = None
        self._expiry = ExpiryWatch(services, self._out, self.close)
        self._silent_beats = 0
        self.identity: Identity = _NOBODY
        self.heard = True
        self.closing = False
        self.draining = False
        limits = self._limits
        self._handshake_timer: asyncio.TimerHandle | None = self._loop.call_later(
            limits.auth_timeout_s, self.close, codes.AUTH_TIMEOUT
        )
        self._heartbeat = self._loop.call_later(limits.keepalive_interval_s, self._beat)
        services.sessions.opened(self)

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
        self._end()
        self._connection.lost()

    # What the sending half reports.

    def fell_behind(self) -> None:
        """Too many notifications wait for this peer."""
        # Called while the broker walks its subscribers: the teardown must wait for the next turn.
        self._loop.call_soon(self.close, codes.SLOW_CONSUMER)

    def writable_again(self) -> None:
        """Go on with what waited for the peer to read."""
        self._pump()

    # The handshake.

    def _authenticate(self, token: str) -> None:
        identity = self._services.authenticator.identify_cached(token)
        if identity is not None:
            self._admit_identity(identity)
        else:
            self._restart_handshake_timer()
            self._start(self._identify(token))

    def _restart_handshake_timer(self) -> None:
        """From the first message on, the rest of the time for the whole handshake bounds key fetches."""
        limits = self._limits
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        rest_s = max(0.0, limits.handshake_timeout_s - limits.auth_timeout_s)
        self._handshake_timer = self._loop.call_later(rest_s, self.close, codes.AUTH_TIMEOUT)

    async def _identify(self, token: str) -> None:
        try:
            identity = await self._services.authenticator.identify(token)
        except AuthError as error:
            self.close(auth_failure(error).close)
        else:
            self._admit_identity(identity)

    def _admit_identity(self, identity: Identity) -> None:
        if self.closing:
            return
        if not has_scope(identity, "sync"):
            self.close(codes.SYNC_SCOPE_REQUIRED)
            return
        key = connection_key(identity)
        limits = self._limits
        if not self._services.broker.register(key, connections_max=limits.connections_per_mailbox):
            self.close(codes.TOO_MANY_CONNECTIONS)
            return
        self._connection_key = key
        self.identity = identity
        self._services.mailboxes.join(identity.mailbox, self._out)
        self._connection.authenticated()
        self._services.sessions.authenticated(self)
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None
        spread = random.uniform(1 - limits.lifetime_jitter, 1 + limits.lifetime_jitter)
        self._lifetime = self._loop.call_later(limits.lifetime_s * spread, self.close, codes.LIFETIME_REACHED)
        self._expiry.token_changed(identity)
        self._pump()

    def adopt(self, identity: Identity) -> None:
        """Replace the whole identity after `token.refresh`; the connection's place stays counted as before.

        What the old identity alone could read is not heard of any more (protocol G10).
        """
        old, self.identity = self.identity, identity
        ended: list[UUID] = []
        if old.personal_space is not None and old.personal_space != identity.personal_space:
            ended.append(old.personal_space)
        if old.did != identity.did:
            ended += self._services.broker.holds(self._out)
        end_subscriptions(self._services, self._out, ended)
        if old.mailbox != identity.mailbox:
            self._services.mailboxes.leave(old.mailbox, self._out)
            self._services.mailboxes.join(identity.mailbox, self._out)
        self._expiry.token_changed(identity)

    def may_send(self) -> bool:
        """Count one presence update or event; a flood of them ends the session (protocol G22)."""
        if self._bucket is None:
            limits = self._limits
            self._bucket = RateBucket(
                per_s=limits.transient_per_s, burst=limits.transient_burst, now_s=self._loop.time()
            )
        verdict = self._bucket.take(self._loop.time())
        if verdict is Verdict.CLOSE:
            self.close(codes.RATE_LIMITED)
        return verdict is Verdict.PASS

    def note_read(self, kind: DekKind, space: UUID, cursor: int) -> None:
        """Remember up to which cursor this session has read a space's DEKs; the oldest is forgotten first."""
        if self._read_cursors is None:
            self._read_cursors = OrderedDict()
        self._read_cursors[kind, space] = cursor
        self._read_cursors.move_to_end((kind, space))
        if len(self._read_cursors) > self._limits.spaces_per_session:
            self._read_cursors.popitem(last=False)

    def read_up_to(self, kind: DekKind, space: UUID) -> int | None:
        """The cursor of the last `note_read`; None when there was none."""
        return None if self._read_cursors is None else self._read_cursors.get((kind, space))

    # Requests in order.

    def _pump(self) -> None:
        """Handle what waits, until something must be waited for."""
        if self._pumping:
            return  # called from within: the loop below goes on by itself
        self._pumping = True
        try:
            while not self.closing and not self._busy and self._out.ready and self._handle_next():
                pass
        finally:
            self._pumping = False
        self._regulate_reading()

    def _handle_next(self) -> bool:
        """Take one item on its way; False when there is none, or it must wait for what runs already."""
        item, self._held = self._held, None
        if item is None:
            if not self._backlog or self._connection.state is State.AUTHENTICATING:
                return False
            item = self._decode_next()
            if item is None:
                return True
        if not self._handle(item):
            self._held = item
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
            self._authenticate(event.token)
            return None
        return event

    def _handle(self, item: Request | Notification | Close) -> bool:
        """Start one item; False when it must wait for what runs already."""
        row = None
        if type(item) is Request:
            row = METHODS.get(item.method)
            if type(row) is PushMethod:
                return self._submit(item, row)
        if self._pushes:
            return False
        if isinstance(item, Close):
            self.close(item)
            return True
        if self.draining:
            return False
        if isinstance(item, Notification):
            notice = NOTIFICATIONS.get(item.method)
            if notice is not None:
                notice.run(self._call(""), item.params)
            return True
        if not isinstance(row, Method):
            self._out.send(ws_frame(dispatch.unknown_method(item, self._limits)))
            return True
        call = self._call(item.id)
        if row.background:
            return self._background.add(call, item.params, row)
        self._start(self._run(call, item.params, row))
        return True

    def _call(self, request_id: str) -> Call:
        return Call(self._services, self, self.identity, self._out, request_id)

    def _submit(self, request: Request, row: PushMethod) -> bool:
        if self.draining:
            return False
        pushes = self._services.pushes
        if len(self._pushes) >= self._limits.pushes_in_flight:
            return False
        author = connection_key(self.identity)
        if pushes.congested(author):
            self._start(pushes.uncongested(author))
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
            self._out.send(ws_frame(payload))
        self._pump()

    def _start(self, work: Coroutine[object, object, None]) -> None:
        """Run one thing to its end before the next message is looked at."""
        self._busy = True
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._busy = False
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("session task failed", exc_info=error)
        self._pump()

    async def _run(self, call: Call, params: object, row: Method) -> None:
        payload = await dispatch.answer(call, params, row)
        self._out.send(ws_frame(payload))

    # Back-pressure on the peer.

    def _regulate_reading(self) -> None:
        limits = self._limits
        if self._reading_paused:
            if (
                len(self._backlog) * 2 <= limits.backlog_frames
                and self._backlog_bytes * 2 <= limits.backlog_bytes
            ):
                self._reading_paused = False
                self._wire.resume_reading()
        elif len(self._backlog) >= limits.backlog_frames or self._backlog_bytes >= limits.backlog_bytes:
            self._reading_paused = True
            self._wire.pause_reading()

    # Timers.

    def _beat(self) -> None:
        """Every keepalive interval from accept on: say we live, and see whether the peer does."""
        limits = self._limits
        if self.heard:
            self.heard = False
            self._silent_beats = 0
        else:
            self._silent_beats += 1
            if self._silent_beats * limits.keepalive_interval_s >= limits.silence_timeout_s:
                self._wire.abort()
                return
        if self._out.ready:
            self._out.send(_HEARTBEAT)
        self._heartbeat = self._loop.call_later(limits.keepalive_interval_s, self._beat)

    def subscriptions_changed(self) -> None:
        """Wake when the first of the tokens that subscriptions rest on expires."""
        if not self.closing:
            self._expiry.subscriptions_changed()

    # The end.

    @property
    def idle(self) -> bool:
        """True while no request is being handled and everything was handed to the transport."""
        return not self._busy and self._background.idle and not self._pushes and self._out.ready

    def close(self, close: Close) -> None:
        """Send one close frame ahead of what is queued, and end. Later calls do nothing."""
        if self.closing:
            return
        self._connection.close(close)
        self._out.discard()
        self._end()
        if self._reading_paused:
            self._reading_paused = False
            self._wire.resume_reading()  # input is discarded until the peer closes
        log.debug("session closed", code=int(close.code), reason=close.reason)
        self._wire.send_close(close)

    def _end(self) -> None:
        if self.closing:
            return
        self.closing = True
        self._backlog.clear()
        self._held = None
        for timer in (self._handshake_timer, self._heartbeat, self._lifetime):
            if timer is not None:
                timer.cancel()
        self._expiry.stop()
        self._background.cancel()
        for task in list(self._tasks):
            task.cancel()
        if self._connection_key is not None:
            self._leave_everywhere()
            self._services.mailboxes.leave(self.identity.mailbox, self._out)
            self._services.broker.unregister(self._connection_key, self._out)
        self._services.sessions.closed(self)

    def _leave_everywhere(self) -> None:
        if self._out.named:
            for space, peer in self._services.presence.drop(self._out.connection_id):
                announce_leave(self._services, space, peer, exclude=self._out)
