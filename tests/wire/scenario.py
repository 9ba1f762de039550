"""The recorded scenarios of `tests/vectors/wire.json` as typed steps.

Every key of every step is read here or refused: a step this module does not understand fails at import
rather than being passed over.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.wire.differences import DIFFERENCES

WIRE_JSON = Path(__file__).parent.parent / "vectors" / "wire.json"

Json = Mapping[str, Any]  # decoded JSON
Seconds = tuple[float, float]
"""Lower and upper bound since the previous step."""


@dataclass(frozen=True, slots=True)
class Sql:
    text: str


@dataclass(frozen=True, slots=True)
class Connect:
    """`subprotocols` holds one entry per header line. `refused_with` is the status of a refused upgrade."""

    name: str
    subprotocols: tuple[str, ...]
    path: str
    refused_with: int | None
    selected: str | None


@dataclass(frozen=True, slots=True)
class Send:
    on: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SendText:
    on: str
    text: str


@dataclass(frozen=True, slots=True)
class SendPing:
    on: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SendToken:
    """`frame` gets one more key at its end, `params`, holding the token of `user` changed by `claims`."""

    on: str
    frame: Json
    user: str
    claims: Json
    bad_signature: bool


@dataclass(frozen=True, slots=True)
class StopReading:
    on: str


@dataclass(frozen=True, slots=True)
class Hangup:
    name: str


@dataclass(frozen=True, slots=True)
class Http:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    user: str
    status: int


@dataclass(frozen=True, slots=True)
class Mask:
    """The text at `path` (dotted, numbers index arrays) differs from run to run but matches `pattern`."""

    path: str
    pattern: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Expect:
    """`data` None: nothing comes here."""

    on: str
    data: bytes | None = field(repr=False)
    masks: tuple[Mask, ...]
    within_s: Seconds | None


@dataclass(frozen=True, slots=True)
class ExpectClose:
    """`reason` None: any reason."""

    on: str
    code: int
    reason: str | None
    within_s: Seconds | None
    skip_messages: bool


Step = (
    Sql
    | Connect
    | Send
    | SendText
    | SendPing
    | SendToken
    | StopReading
    | Hangup
    | Http
    | Expect
    | ExpectClose
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One conversation, with the server settings it needs."""

    name: str
    steps: tuple[Step, ...] = field(repr=False)
    identity_hash_key: str | None
    federation_trusted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vectors:
    trusted_issuers: tuple[str, ...]
    unreachable_issuer: str
    users: Mapping[str, Json]
    scenarios: Mapping[str, Scenario]


@cache
def load() -> Vectors:
    """Read all scenarios, by name, in their order.

    Raises:
        ValueError: a step or a scenario has a key, or a combination of keys, this module does not know.
    """
    raw = json.loads(WIRE_JSON.read_text())
    if raw["format"] != 1:
        raise ValueError(f"unknown format of the wire vectors: {raw['format']}")
    scenarios = [_scenario(item) for item in raw["scenarios"]]
    return Vectors(
        trusted_issuers=tuple(raw["trusted_issuers"]),
        unreachable_issuer=raw["unreachable_issuer"],
        users=raw["users"],
        scenarios={scenario.name: scenario for scenario in scenarios},
    )


def _scenario(raw: Json) -> Scenario:
    item = dict(raw)
    name, steps = item.pop("name"), item.pop("steps")
    item.pop("about")
    item.pop("slow_s", None)
    hash_key = item.pop("identity_hash_key", None)
    federation = item.pop("federation", {})
    if item:
        raise ValueError(f"{name}: unknown settings {sorted(item)}")
    return Scenario(
        name=name,
        steps=tuple(_step(_as_we_answer(name, index, step)) for index, step in enumerate(steps)),
        identity_hash_key=hash_key,
        federation_trusted=tuple(federation.get("trusted_domains", ())),
    )


def _as_we_answer(name: str, index: int, raw: Json) -> Json:
    """The step, with our own frame where we differ on purpose."""
    difference = DIFFERENCES.get((name, index))
    if difference is None:
        return raw
    if raw.get("expect") != difference.recorded:
        raise ValueError(f"{name}, step {index}: what was recorded is not what the difference is from")
    return {**raw, "expect": difference.ours}


def _step(raw: Json) -> Step:
    item = dict(raw)
    item.pop("existing", None)  # what the other server does, and why it differs: for the reader
    item.pop("why", None)
    kind = next((kind for kind in _READERS if kind in item), None)
    if kind is None:
        raise ValueError(f"unknown step {sorted(raw)}")
    step = _READERS[kind](item)
    if item:
        raise ValueError(f"step {kind!r} with unknown keys {sorted(item)}")
    return step


def _connect(item: dict[str, Any]) -> Connect:
    return Connect(
        name=item.pop("connect"),
        subprotocols=tuple(item.pop("subprotocols", ("betterbase-rpc-v1",))),
        path=item.pop("path", "/api/v1/ws"),
        refused_with=item.pop("expect_status", None),
        selected=item.pop("expect_subprotocol", None),
    )


def _send(item: dict[str, Any]) -> Send:
    pieces: str | Sequence[str | Json] = item.pop("send")
    whole = [pieces] if isinstance(pieces, str) else pieces
    return Send(on=item.pop("on"), data=b"".join(map(_piece, whole)))


def _piece(piece: str | Json) -> bytes:
    if isinstance(piece, str):
        return bytes.fromhex(piece)
    return bytes.fromhex(piece["repeat"]) * int(piece["times"])


def _send_token(item: dict[str, Any]) -> SendToken:
    return SendToken(
        on=item.pop("on"),
        frame=item.pop("send_token"),
        user=item.pop("user"),
        claims=item.pop("claims", {}),
        bad_signature=item.pop("bad_signature", False),
    )


def _http(item: dict[str, Any]) -> Http:
    request = item.pop("http")
    return Http(
        method=request["method"],
        path=request["path"],
        headers=request["headers"],
        body=bytes.fromhex(request["body"]),
        user=item.pop("user"),
        status=item.pop("expect_status"),
    )


def _expect(item: dict[str, Any]) -> Expect:
    data = item.pop("expect")
    masks = item.pop("mask", ())
    return Expect(
        on=item.pop("on"),
        data=None if data is None else bytes.fromhex(data),
        masks=tuple(Mask(mask["path"], mask["pattern"], mask.get("as")) for mask in masks),
        within_s=_seconds(item.pop("within_s", None)),
    )


def _expect_close(item: dict[str, Any]) -> ExpectClose:
    close = item.pop("expect_close")
    return ExpectClose(
        on=item.pop("on"),
        code=close["code"],
        reason=close.get("reason"),
        within_s=_seconds(item.pop("wait_s", None)),
        skip_messages=item.pop("skip_messages", False),
    )


def _seconds(bounds: Sequence[float] | None) -> Seconds | None:
    return None if bounds is None else (float(bounds[0]), float(bounds[1]))


def _stop_reading(item: dict[str, Any]) -> StopReading:
    item.pop("stop_reading")
    return StopReading(item.pop("on"))


_READERS: Mapping[str, Callable[[dict[str, Any]], Step]] = {
    # Each takes the keys it understands out of the step; the first that fits is used.
    "sql": lambda item: Sql(item.pop("sql")),
    "connect": _connect,
    "http": _http,
    "send_token": _send_token,
    "send_text": lambda item: SendText(text=item.pop("send_text"), on=item.pop("on")),
    "send_ping": lambda item: SendPing(data=bytes.fromhex(item.pop("send_ping")), on=item.pop("on")),
    "send": _send,
    "stop_reading": _stop_reading,
    "hangup": lambda item: Hangup(item.pop("hangup")),
    "expect_close": _expect_close,
    "expect": _expect,
}
