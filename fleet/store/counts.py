"""Figures of the whole fleet, for those who watch the plane."""

from dataclasses import dataclass
from typing import Final

from less_sync.fleet.database import Database

STATUSES: Final = ("active", "stale", "inactive", "retired")
SEVERITIES: Final = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True)
class Counts:
    """What the database holds now; all instances tell the same."""

    agents: dict[str, int]
    """By each of `STATUSES`."""
    alerts: dict[str, int]
    """Those that are not resolved, by each of `SEVERITIES`."""
    deliveries_due: int


async def counts(database: Database) -> Counts:
    """Count. Every agent's row is read, which takes some 20 ms for 100,000 of them.

    Raises: as `Database`.
    """
    numbers = {(row["kind"], row["label"]): row["number"] for row in await database.fetch("counts")}
    return Counts(
        agents={status: numbers.get(("agents", status), 0) for status in STATUSES},
        alerts={severity: numbers.get(("alerts", severity), 0) for severity in SEVERITIES},
        deliveries_due=numbers["due", ""],
    )
