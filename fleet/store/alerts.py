"""Alerts: one live one per kind and subject, however often it is raised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from less_sync.fleet.database import Row, rows
from less_sync.fleet.store import events
from less_sync.fleet.store.events import Event

if TYPE_CHECKING:
    from less_sync.fleet.database import Connection

Severity = Literal["info", "warning", "critical"]

COLUMNS: Final = (
    "id",
    "kind",
    "severity",
    "subject_type",
    "subject_id",
    "title",
    "detail",
    "status",
    "occurrences",
    "raised_at",
    "last_seen_at",
    "acknowledged_at",
    "acknowledged_by",
    "note",
    "resolved_at",
    "resolved_by",
)
TOLD: Final = "told"
"""In an alert's detail: false when no event was written for it, so that none follows when it is over."""
SYSTEM: Final = "system"
"""Who resolves what is over by itself."""


@dataclass(frozen=True, slots=True)
class Alert:
    """What an operator should look at.

    Attributes:
        kind: `agent.stale` and such, docs/fleet.md 5.
        subject_id: of the agent, webhook and so on that it is about.
        title: one line for people.
        detail: figures that explain it; no secrets.
    """

    kind: str
    severity: Severity
    subject_type: str
    subject_id: str
    title: str
    detail: Mapping[str, Any] = field(default_factory=dict)


def shown(row: Row) -> dict[str, object]:
    """An alert as routes and events tell it."""
    return {name: row[name] for name in COLUMNS}


async def raise_alerts(connection: "Connection", alerts: Sequence[Alert], *, tell: bool = True) -> list[Row]:
    """Raise alerts; one that is live already is counted, and takes the severity, title and detail of now.

    The partial unique index decides between two that raise one at the same time. Rows are taken in the order
    of their keys, so that two batches wait for each other in one order.

    Args:
        tell: whether an event `alert.raised` is written for those that are new.

    Returns:
        the rows of the new ones.
    """
    if not alerts:
        return []
    ordered = sorted(alerts, key=lambda alert: (alert.kind, alert.subject_type, alert.subject_id))
    found = await rows(
        connection,
        "raise_alerts",
        [alert.kind for alert in ordered],
        [alert.severity for alert in ordered],
        [alert.subject_type for alert in ordered],
        [alert.subject_id for alert in ordered],
        [alert.title for alert in ordered],
        [dict(alert.detail) for alert in ordered],
    )
    new = [row for row in found if row["is_new"]]
    if tell:
        await events.write(connection, [Event("alert.raised", {"alert": shown(row)}) for row in new])
    return new


async def resolve_alerts(
    connection: "Connection",
    kinds: Sequence[str] | None,
    subject_type: str,
    subject_ids: Sequence[str],
    *,
    by: str = SYSTEM,
) -> list[Row]:
    """Resolve the live alerts of some subjects, with an event `alert.resolved` for each that was told.

    One statement takes the rows, so that of two that resolve an alert one finds it.

    Args:
        kinds: None: all.

    Returns:
        the rows that were live.
    """
    found = list(
        await rows(
            connection,
            "resolve_alerts",
            None if kinds is None else list(kinds),
            subject_type,
            list(subject_ids),
            by,
        )
    )
    told = [row for row in found if row["detail"].get(TOLD, True)]
    await events.write(connection, [Event("alert.resolved", {"alert": shown(row)}) for row in told])
    return found
