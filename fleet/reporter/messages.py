"""The bodies that go to a fleet plane and come back (docs/fleet.md). Pure.

What comes back is believed as far as it is usable: unknown keys and commands are passed over, as a newer
plane may know more, and what would end up in a request or a log line has to have its form.
"""

import re
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from less_sync.fleet.reporter.report import Report

INTERVAL_S_MIN: Final = 5
INTERVAL_S_MAX: Final = 3600
COMMANDS_MAX: Final = 100
DRAINING: Final = "draining"
SERVING: Final = "serving"
ROTATE_TOKEN: Final = "rotate_token"

_AGENT_TOKEN: Final = re.compile(r"lsa_[!-~]{1,508}\Z", re.ASCII)
_VERSION: Final = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?\Z", re.ASCII)
_VERSION_CHARS_MAX: Final = 64

T = TypeVar("T")


class NotUnderstood(Exception):
    """An answer is none; the text says what is wrong and quotes nothing of it."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Who registers, but for the instance id. The names of the fields are those on the wire."""

    name: str
    kind: str
    """`sync` or `volume`."""
    hostname: str | None
    os: str
    arch: str
    version: str
    """SemVer 2.0.0 without build metadata."""
    labels: dict[str, str]


class Registered(NamedTuple):
    """A plane knows this server."""

    agent_id: str
    token: str | None
    """None: the one in use stays."""
    interval_s: int


class Beaten(NamedTuple):
    """A plane has taken a heartbeat."""

    interval_s: int
    draining: bool | None
    """What is wanted; None: nothing that is known here."""
    desired_version: str | None
    rotate_token: bool


class _Registration(Identity, frozen=True, kw_only=True):
    instance_id: str


class _Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    sequence: int
    boot_id: str
    version: str
    uptime_seconds: int
    sent_at: str
    report: Report


class _RegisterAnswer(msgspec.Struct, frozen=True):
    agent_id: str
    token: str | None
    heartbeat_interval_seconds: int


class _Desired(msgspec.Struct, frozen=True):
    state: Any = None
    version: Any = None


class _HeartbeatAnswer(msgspec.Struct, frozen=True):
    heartbeat_interval_seconds: int
    desired: _Desired = _Desired()
    commands: list[Any] = []


def registration_body(identity: Identity, instance_id: str) -> bytes:
    """What is sent once, to be known."""
    return msgspec.json.encode(_Registration(instance_id=instance_id, **msgspec.structs.asdict(identity)))


def heartbeat_body(
    report: Report, *, sequence: int, boot_id: str, version: str, uptime_s: float, sent_at: str
) -> bytes:
    """What is sent again and again.

    Args:
        sequence: one more each time, from 1. boot_id: a UUID of this process. sent_at: RFC 3339, UTC.
    """
    return msgspec.json.encode(
        _Heartbeat(
            sequence=sequence,
            boot_id=boot_id,
            version=version,
            uptime_seconds=max(0, int(uptime_s)),
            sent_at=sent_at,
            report=report,
        )
    )


def read_registered(body: bytes) -> Registered:
    """The answer to a registration.

    Raises:
        NotUnderstood: it is none, or names an agent or a token that cannot be one.
    """
    answer = _decoded(body, _RegisterAnswer)
    try:
        agent_id = str(UUID(answer.agent_id))
    except ValueError:
        raise NotUnderstood("the agent id is no UUID") from None
    if answer.token is not None and _AGENT_TOKEN.match(answer.token) is None:
        raise NotUnderstood("the token is none of an agent's")
    return Registered(agent_id, answer.token, _interval_s(answer.heartbeat_interval_seconds))


def read_beaten(body: bytes) -> Beaten:
    """The answer to a heartbeat.

    Raises:
        NotUnderstood: it is none.
    """
    answer = _decoded(body, _HeartbeatAnswer)
    state, version = answer.desired.state, answer.desired.version
    return Beaten(
        interval_s=_interval_s(answer.heartbeat_interval_seconds),
        draining={DRAINING: True, SERVING: False}.get(state) if isinstance(state, str) else None,
        desired_version=version if is_version(version) else None,
        rotate_token=any(
            isinstance(one, dict) and one.get("type") == ROTATE_TOKEN
            for one in answer.commands[:COMMANDS_MAX]
        ),
    )


def is_version(value: object) -> bool:
    """Whether it has the form of a version, which may stand in a log line and in a label."""
    return isinstance(value, str) and len(value) <= _VERSION_CHARS_MAX and _VERSION.match(value) is not None


def _interval_s(told: int) -> int:
    return min(max(told, INTERVAL_S_MIN), INTERVAL_S_MAX)


def _decoded(body: bytes, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotUnderstood("the answer is not what a fleet plane says") from None
