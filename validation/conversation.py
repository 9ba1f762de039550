"""One WebSocket to a target, as checks drive it: every frame is theirs, and every wait has an end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cbor2
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ProtocolError
from less_sync.sync.protocol.frames import (
    Chunk,
    Notification,
    Response,
    decode_server_frame,
    encode_notification,
    encode_request,
)
from less_sync.validation.evidence import Evidence
from less_sync.validation.outcome import Blocked, Broken, Faulty

ANSWER_S: Final = 10.0
"""How long a check waits for an answer where its criterion names no time."""
KEEPALIVE: Final = b"\xf6"
UNREAD_MAX: Final = 10_000
"""Notifications kept for a check that waits for something else."""
NO_CLOSE_FRAME: Final = 1006

READ_METHODS: Final = frozenset(
    {
        *("subscribe", "pull", "token.refresh", "invitation.list", "membership.list", "deks.get"),
        *("file.deks.get", "deks.getFiles", "session.info", "?"),
    }
)
"""What may be asked where nothing may be written; `?` is a method that no server has."""
READ_NOTIFICATIONS: Final = frozenset({"auth", "unsubscribe"})


@dataclass(frozen=True, slots=True)
class Closed:
    """How the connection ended: 1006 without a close frame."""

    code: int
    reason: str


class Ended(Faulty):
    """The server ended the connection while something was waited for: `closed:CODE`."""

    def __init__(self, closed: Closed) -> None:
        super().__init__("closed", closed.code)
        self.closed = closed


@dataclass(slots=True)
class Conversation:
    """An open connection. Requests are numbered; what nobody waited for is kept for `next`."""

    socket: ClientConnection
    evidence: Evidence
    read_only: bool
    unread: list[Response | Chunk | Notification] = field(default_factory=list)
    requests: int = 0
    keepalives: int = 0
    """`F6` messages that came."""
    heard: bool = False
    """Whether the server has said anything."""
    rate_limited: bool = False
    """Whether it refused anything for an hourly limit."""

    async def send(self, method: str, params: Mapping[str, object]) -> str:
        """Send a request without waiting; return its id.

        Raises:
            Broken: `write-refused`; nothing was sent.
            Ended: the connection is closed.
        """
        if self.read_only and method not in READ_METHODS:
            raise Broken("write-refused")
        self.requests += 1
        request_id = f"v{self.requests}"
        await self.send_bytes(encode_request(request_id, method, params))
        return request_id

    async def notify(self, method: str, params: Mapping[str, object]) -> None:
        """Send a notification. Raises as `send`."""
        if self.read_only and method not in READ_NOTIFICATIONS:
            raise Broken("write-refused")
        await self.send_bytes(encode_notification(method, params))

    async def send_bytes(self, frame: bytes) -> None:
        """Send these bytes as one message: for `send`, and for checks of what is malformed."""
        self.evidence.sent(frame)
        try:
            await self.socket.send(frame)
        except ConnectionClosed:
            raise Ended(self._closed()) from None

    async def authenticate(self, token: str) -> None:
        """The first message."""
        frame = cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}})
        await self.send_bytes(frame)

    async def receive(self, within_s: float) -> bytes | str:
        """The next message, a keepalive too. Raises TimeoutError, Ended."""
        try:
            async with asyncio.timeout(within_s):
                message = await self.socket.recv()
        except ConnectionClosed:
            closed = self._closed()
            self.evidence.closed(closed.code, closed.reason)
            raise Ended(closed) from None
        self.heard = True
        self.evidence.received(message)
        if message == KEEPALIVE:
            self.keepalives += 1
        return message

    async def next(self, within_s: float = ANSWER_S) -> Response | Chunk | Notification:
        """The next frame that is no keepalive.

        Raises:
            TimeoutError: none came in time.
            Ended: the connection did.
            Faulty: `not-this-protocol`, a message that no client of the protocol can read.
        """
        if self.unread:
            return self.unread.pop(0)
        return await self._arriving(within_s)

    async def _arriving(self, within_s: float) -> Response | Chunk | Notification:
        deadline_s = asyncio.get_running_loop().time() + within_s
        while True:
            message = await self.receive(max(0.0, deadline_s - asyncio.get_running_loop().time()))
            if message == KEEPALIVE:
                continue
            try:
                frame = decode_server_frame(message) if isinstance(message, bytes) else None
            except ProtocolError:
                frame = None
            if frame is None:
                raise Faulty("not-this-protocol")
            return frame

    async def response(self, request_id: str, within_s: float = ANSWER_S) -> tuple[Response, list[Chunk]]:
        """The answer to a request, with its chunks; notifications are kept for `next`.

        Raises:
            Faulty: `unanswered` within this time.
            Ended: see there.
        """
        chunks: list[Chunk] = []
        try:
            async with asyncio.timeout(within_s):
                while True:
                    frame = await self._arriving(within_s)
                    if isinstance(frame, Response) and frame.id == request_id:
                        limited = frame.error is not None and frame.error.code == ErrorCode.RATE_LIMITED
                        self.rate_limited = self.rate_limited or limited
                        return frame, chunks
                    if isinstance(frame, Chunk) and frame.id == request_id:
                        chunks.append(frame)
                    elif len(self.unread) < UNREAD_MAX:
                        self.unread.append(frame)
        except TimeoutError:
            raise Faulty("unanswered") from None

    async def ask(self, method: str, params: Mapping[str, object], within_s: float = ANSWER_S) -> Response:
        """Send a request and wait for its answer, an error too. Raises as `send` and `response`."""
        return (await self.response(await self.send(method, params), within_s))[0]

    async def call(self, method: str, params: Mapping[str, object], within_s: float = ANSWER_S) -> Any:
        """The result of a request that has to succeed.

        Raises:
            Faulty: `refused:METHOD:CODE`; else as `ask`.
            Blocked: `rate-limited`, which says nothing of what the check is about.
        """
        response = await self.ask(method, params, within_s)
        if response.error is not None and response.error.code == ErrorCode.RATE_LIMITED:
            raise Blocked("rate-limited")
        if response.error is not None:
            raise Faulty("refused", method, response.error.code)
        return response.result

    async def barrier(self) -> None:
        """Return once the server has answered one more request: it has taken the token, and all before."""
        response = await self.ask("?", {})
        if response.error is None or response.error.code != "method_not_found":
            raise Faulty("barrier")

    async def close_seen(self, within_s: float = ANSWER_S) -> Closed:
        """How the server ends the connection; what comes before is passed over. Raises TimeoutError."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    await self.receive(within_s)
        except Ended as ended:
            return ended.closed

    def cut(self) -> None:
        """End the connection without a close frame, as a network does."""
        self.socket.transport.abort()

    def _closed(self) -> Closed:
        code = self.socket.close_code
        return Closed(code if code is not None else NO_CLOSE_FRAME, self.socket.close_reason or "")
