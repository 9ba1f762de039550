"""The audit trail: who changed what, chained by hashes so that a row that is altered or missing is found."""

import hashlib
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import msgspec

from less_sync.fleet.database import Row, row, value

if TYPE_CHECKING:
    from less_sync.fleet.api.call import Call
    from less_sync.fleet.database import Connection

FIRST: Final = bytes(32)
"""What the first row is chained to."""
_HASHED: Final = ("id", "at", "actor", "action", "subject_type", "subject_id", "request_id", "ip", "detail")


async def record(
    connection: "Connection",
    call: "Call",
    action: str,
    subject_type: str,
    subject_id: object,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write one row in the transaction of the change that it records.

    A lock of the transaction, taken before the last row is read, makes rows one chain: it is held until the
    commit, so nobody reads a last row that is about to have a follower, or to vanish.

    Args:
        action: `agent.retire` and such: the resource and what was done with it.
        detail: what explains it; no secrets.
    """
    await value(connection, "lock_audit")
    last = await row(connection, "last_audit")
    assert last is not None  # the query has one row whatever the table holds
    written: dict[str, Any] = {
        "id": last["id"],
        "at": last["at"],
        "actor": call.actor.name,
        "action": action,
        "subject_type": subject_type,
        "subject_id": str(subject_id),
        "request_id": call.request_id,
        "ip": call.address,
        "detail": dict(detail or {}),
    }
    before: bytes = last["hash"] or FIRST
    await value(connection, "write_audit", *written.values(), before, row_hash(before, written))


def row_hash(before: bytes, written: "Mapping[str, Any] | Row") -> bytes:
    """SHA-256 over the hash before and the row's other columns as JSON with sorted keys, without blanks."""
    columns = {name: written[name] for name in _HASHED}
    if columns["ip"] is not None:
        columns["ip"] = str(ip_address(str(columns["ip"])))  # one spelling, whoever told it
    return hashlib.sha256(before + msgspec.json.encode(columns, order="sorted")).digest()
