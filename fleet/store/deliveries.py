"""Deliveries as the worker sees them: leased, tried, and the result written by whoever holds the lease."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from less_sync.fleet.database import Database, row
from less_sync.fleet.store.alerts import Alert, raise_alerts
from less_sync.fleet.webhooks.sending import Attempt, Outcome

PER_WEBHOOK_MAX: Final = 4
"""Deliveries to one webhook that an instance has under way at a time."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that is leased to one look of one instance, for 60 s.

    Attributes:
        lease: of the look; a result is written only while it holds.
        attempts: this one included.
        now_s: since 1970, by the database's clock, when it was claimed.
        secret: sealed; previous_secret likewise, None when it signs no more.
    """

    lease: str
    id: UUID
    webhook_id: UUID
    event_id: str
    attempts: int
    type: str
    url: str
    now_s: float
    payload: bytes = field(repr=False)
    secret: bytes = field(repr=False)
    previous_secret: bytes | None = field(repr=False)


async def claim(database: Database, lease: str, at_most: int, under_way: Sequence[UUID]) -> list[Claimed]:
    """Lease what is due.

    Args:
        lease: a fresh text for each look, so that no result of an earlier lease fits.
        under_way: the webhook of each delivery that this instance has in hand.
    """
    found = await database.fetch("claim_deliveries", lease, at_most, PER_WEBHOOK_MAX, list(under_way))
    return [Claimed(lease, **one) for one in found]


async def succeeded(database: Database, claimed: Claimed, attempt: Attempt) -> bool:
    """Write a good result; False: the lease is not this one's any more, and nothing was written.

    Two statements that take one row each, so that they wait in no circle with those that take both. A crash
    between them leaves the webhook failing until its next success.
    """
    written = await database.row(
        "delivery_succeeded",
        claimed.id,
        claimed.lease,
        claimed.attempts,
        claimed.webhook_id,
        attempt.status,
        attempt.response,
        attempt.duration_ms,
    )
    if written is not None and written["failing"]:
        await database.row("webhook_well", claimed.webhook_id)
    return written is not None


async def failed(
    database: Database, claimed: Claimed, attempt: Attempt, again_in_s: float | None, *alerts: Alert
) -> bool:
    """Write a bad result, what it means for the webhook, and the alerts that follow.

    Args:
        again_in_s: when to try again; None: the delivery is given up.
        alerts: raised besides.

    Returns:
        False: the lease is not this one's any more, and nothing was written.
    """
    async with database.transaction() as connection:
        # The webhook's row is taken first and held: results of one webhook are written one behind the other.
        if await row(connection, "lock_webhook", claimed.webhook_id) is None:
            return False
        written = await row(
            connection,
            "delivery_failed",
            claimed.id,
            claimed.lease,
            claimed.attempts,
            attempt.status,
            attempt.error,
            attempt.response,
            attempt.duration_ms,
            again_in_s,
        )
        if written is None:
            return False
        raised = [*alerts, *([_dead_letter(claimed, attempt)] if again_in_s is None else [])]
        gone = attempt.outcome is Outcome.GONE
        after = await row(connection, "webhook_failed", claimed.webhook_id, attempt.retry_after_s, gone)
        if after is not None and after["reason"] is not None:
            raised.append(_disabled(claimed, after["reason"]))
        await raise_alerts(connection, raised)
    return True


def _dead_letter(claimed: Claimed, attempt: Attempt) -> Alert:
    return Alert(
        "webhook.dead_letter",
        "warning",
        "webhook",
        str(claimed.webhook_id),
        "An event could not be delivered",
        {
            "delivery_id": claimed.id,
            "event_id": claimed.event_id,
            "event_type": claimed.type,
            "attempts": claimed.attempts,
            "error": attempt.error,
        },
    )


def _disabled(claimed: Claimed, reason: str) -> Alert:
    return Alert(
        "webhook.disabled",
        "warning",
        "webhook",
        str(claimed.webhook_id),
        "A webhook was disabled",
        {"reason": reason},
    )
