"""What happened, for webhooks: an event and its deliveries are written with the change they tell of."""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from less_sync.fleet.database import rows, value

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection

TYPES: Final = (
    "agent.registered",
    "agent.reenrolled",
    "agent.retired",
    "agent.stale",
    "agent.inactive",
    "agent.recovered",
    "agent.updated",
    "alert.raised",
    "alert.acknowledged",
    "alert.resolved",
    "webhook.test",
)
"""Every type there is; a webhook names them, `prefix.*`, or `*`."""
_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@dataclass(frozen=True, slots=True)
class Event:
    """What is told: a type of `TYPES`, and a few fields; never a secret, a key or a token."""

    type: str
    data: Mapping[str, Any]


async def write(connection: "Connection", events: Sequence[Event]) -> list[str]:
    """Write events, each with one delivery per enabled webhook that asked for its type.

    The caller's transaction makes it safe: no event without its change, no change without its event. The
    caller sets `Plane.deliveries_due` behind the commit.

    Returns:
        the ids of the events, `msg_` and 26 characters that sort by time.
    """
    if not events:
        return []
    ids = [_new_id() for _ in events]
    at = datetime.now(UTC)
    payloads = [_payload(event, at) for event in events]
    await rows(connection, "write_events", ids, [event.type for event in events], payloads)
    return ids


async def write_test(connection: "Connection", webhook_id: UUID, message: str) -> UUID:
    """Write an event `webhook.test` for one webhook alone, whatever it asked for.

    Returns:
        the delivery's id.
    """
    event = Event("webhook.test", {"message": message})
    payload = _payload(event, datetime.now(UTC))
    delivery: UUID = await value(connection, "write_test_event", webhook_id, _new_id(), event.type, payload)
    return delivery


def _payload(event: Event, at: datetime) -> bytes:
    """The bytes that are signed and sent, the same at every webhook and attempt."""
    return msgspec.json.encode({"type": event.type, "timestamp": at, "data": event.data})


def _new_id() -> str:
    """48 bits of the time in milliseconds and 80 random ones, five bits a character."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "msg_" + "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))
