"""Plays one scenario against a server and says where it strayed from the record."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

import asyncpg
import cbor2
import httpx
from websockets.exceptions import ConnectionClosed

from tests.wire.client import Closed, Event, Message, Refused, Socket, open_socket
from tests.wire.differences import without_detail
from tests.wire.issuer import Issuer
from tests.wire.scenario import (
    Connect,
    Expect,
    ExpectClose,
    Hangup,
    Http,
    Mask,
    Scenario,
    Send,
    SendPing,
    SendText,
    SendToken,
    Sql,
    Step,
    StopReading,
)

PATIENCE_S: Final = 30.0
"""How long a step waits for what should come: far longer than it takes, even on a busy machine."""

LATENESS_S: Final = 5.0
"""What a busy machine may add to the upper bound of a recorded time."""

BARRIER: Final = cbor2.dumps({"type": 0, "id": "barrier", "method": "?", "params": {}})
BARRIER_ANSWER: Final = cbor2.dumps(
    {
        "type": 1,
        "id": "barrier",
        "error": {"code": "method_not_found", "message": "unknown method: ?"},
    }
)


class Mismatch(AssertionError):
    """The server did something else than the record says, at step `index` (from 0)."""

    def __init__(self, scenario: str, index: int, said: str) -> None:
        super().__init__(scenario, index, said)
        self.scenario, self.index, self.said = scenario, index, said

    def __str__(self) -> str:
        return f"{self.scenario}, step {self.index}: {self.said}"


@dataclass(frozen=True, slots=True)
class Target:
    """A running server, the database under it and whoever signs its tokens."""

    host: str
    port: int
    database_url: str = field(repr=False)
    issuer: Issuer
    users: Mapping[str, Mapping[str, Any]] = field(repr=False)


async def replay(scenario: Scenario, target: Target) -> None:
    """Play every step in order; messages left unread at the end are not looked at.

    Raises:
        Mismatch: at the first step that does not go as recorded.
    """
    player = _Player(target)
    try:
        for index, step in enumerate(scenario.steps):
            try:
                await player.play(step)
            except (_Strayed, TimeoutError, OSError, ConnectionClosed) as strayed:
                raise Mismatch(scenario.name, index, str(strayed) or "nothing came") from strayed
    finally:
        await player.close()


PARAMS_ERROR: Final = cbor2.dumps("invalid_params")


class _Strayed(Exception):
    """What came instead, in words."""


class _Player:
    """The connections of one scenario, and the texts of this run that stand for recorded ones."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._sockets: dict[str, Socket] = {}
        self._received: dict[bytes, bytes] = {}
        self._previous_s = time.monotonic()
        self._database: asyncpg.Connection | None = None

    async def play(self, step: Step) -> None:
        match step:
            case Sql():
                await self._sql(step.text)
            case Connect():
                await self._connect(step)
            case Send():
                self._sockets[step.on].send(self._current(step.data))
            case SendText():
                self._sockets[step.on].send_text(step.text.encode())
            case SendPing():
                self._sockets[step.on].send_ping(step.data)
            case SendToken():
                self._send_token(step)
            case StopReading():
                self._sockets[step.on].stop_reading()
            case Hangup():
                await self._sockets.pop(step.name).hangup(PATIENCE_S)
            case Http():
                await self._http(step)
            case Expect():
                await self._expect(step)
            case ExpectClose():
                await self._expect_close(step)
            case _:
                assert_never(step)
        # Steps that are timed count from one moment: two that wait for one event do not add up.
        if getattr(step, "within_s", None) is None:
            self._previous_s = time.monotonic()

    async def close(self) -> None:
        for socket in self._sockets.values():
            socket.abort()
        if self._database is not None:
            await self._database.close()

    def _current(self, recorded: bytes) -> bytes:
        for old, new in self._received.items():
            recorded = recorded.replace(old, new)
        return recorded

    async def _sql(self, text: str) -> None:
        if self._database is None:
            self._database = await asyncpg.connect(self._target.database_url)
        await self._database.execute(text)

    async def _connect(self, step: Connect) -> None:
        try:
            socket = await open_socket(
                self._target.host,
                self._target.port,
                path=step.path,
                subprotocols=step.subprotocols,
                timeout_s=PATIENCE_S,
            )
        except Refused as refused:
            status, body = refused.response.status_code, refused.response.body
            if status != step.refused_with:
                raise _Strayed(f"refused with {status}") from refused
            if body:
                raise _Strayed(f"refused with a body of {len(body)} bytes") from refused
            return
        self._sockets[step.name] = socket
        if step.refused_with is not None:
            raise _Strayed("upgraded")
        if step.selected not in (None, socket.subprotocol):
            raise _Strayed(f"selected {socket.subprotocol}")

    def _send_token(self, step: SendToken) -> None:
        issuer = self._target.issuer
        sign: Callable[[Mapping[str, Any]], str] = issuer.forged if step.bad_signature else issuer.token
        token = sign({**self._target.users[step.user], **step.claims})
        self._sockets[step.on].send(cbor2.dumps({**step.frame, "params": {"token": token}}))

    async def _http(self, step: Http) -> None:
        token = self._target.issuer.token(self._target.users[step.user])
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
            response = await client.request(
                step.method,
                f"http://{self._target.host}:{self._target.port}{step.path}",
                headers={**step.headers, "Authorization": f"Bearer {token}"},
                content=step.body,
            )
        if response.status_code != step.status:
            raise _Strayed(f"status {response.status_code} instead of {step.status}")

    async def _expect(self, step: Expect) -> None:
        socket = self._sockets[step.on]
        if step.data is None:
            socket.send(BARRIER)
        came = await socket.receive(PATIENCE_S)
        self._check_time(step.within_s)
        if not (isinstance(came, Message) and came.binary):
            raise _Strayed(describe(came))
        expected = BARRIER_ANSWER if step.data is None else self._current(step.data)
        data = self._unmasked(came.data, expected, step.masks) if step.masks else came.data
        if PARAMS_ERROR in data:
            data = without_detail(data, expected)
        if data != expected:
            raise _Strayed(f"{describe(came)} instead of {describe(Message(expected, binary=True))}")

    def _unmasked(self, data: bytes, expected: bytes, masks: tuple[Mask, ...]) -> bytes:
        """Put the recorded text where the masked one stands; remember what is named."""
        for mask in masks:
            recorded, received = text_at(expected, mask.path), text_at(data, mask.path)
            if re.fullmatch(mask.pattern, received) is None:
                raise _Strayed(f"{mask.path} does not match {mask.pattern}")
            if mask.name is not None:
                self._received[recorded.encode()] = received.encode()
            data = data.replace(cbor2.dumps(received), cbor2.dumps(recorded))
        return data

    async def _expect_close(self, step: ExpectClose) -> None:
        socket = self._sockets[step.on]
        if step.skip_messages:
            socket.resume_reading()
        came = await socket.receive(PATIENCE_S)
        while step.skip_messages and isinstance(came, Message) and came.binary:
            came = await socket.receive(PATIENCE_S)
        self._check_time(step.within_s)
        if not (isinstance(came, Closed) and came.code == step.code):
            raise _Strayed(f"{describe(came)} instead of close {step.code}")
        if step.reason not in (None, came.reason):
            raise _Strayed(f"{describe(came)} instead of reason {step.reason!r}")

    def _check_time(self, bounds: tuple[float, float] | None) -> None:
        """Hold the step to its bounds. Only the lower one is strict: a busy machine is late at times."""
        passed_s = time.monotonic() - self._previous_s
        if bounds is not None and not bounds[0] <= passed_s <= bounds[1] + LATENESS_S:
            raise _Strayed(f"after {passed_s:.2f} s instead of {bounds[0]} to {bounds[1]} s")


def text_at(data: bytes, path: str) -> str:
    """Return the text at a dotted path of a CBOR item; numbers index arrays. Empty when there is none."""
    value: Any = cbor2.loads(data)
    for key in path.split("."):
        if isinstance(value, list):
            value = value[int(key)] if int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def describe(event: Event) -> str:
    """Say what came: message bytes in hex, long ones cut in the middle."""
    if isinstance(event, Closed):
        return f"close {event.code} {event.reason!r}"
    if not isinstance(event, Message):
        return "a dropped connection"
    text = event.data.hex()
    shown = text if len(text) <= 1200 else f"{text[:600]}...{text[-600:]}"
    return f"{'message' if event.binary else 'text message'} {shown} ({len(event.data)} bytes)"
