"""Figures of the whole fleet (docs/fleet.md 4.6)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from less_sync.fleet.api.call import Answer, Call
from less_sync.fleet.api.routing import Route
from less_sync.fleet.database import Row

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

_STATUSES: Final = ("active", "stale", "inactive", "retired")
_TOTALS: Final = ("connections", "spaces", "records", "storage_bytes")


async def fleet_stats(plane: "Plane", call: Call) -> Answer:
    """One query, whose answer counts for five seconds at this instance."""
    call.query().finish()

    async def ask() -> dict[str, object]:
        found = await plane.database.row("fleet_stats")
        assert found is not None  # it counts
        return _shown(found)

    return Answer(200, await plane.stats.get(ask))


def _shown(stats: Row) -> dict[str, object]:
    statuses: Mapping[str, int] = stats["by_status"] or {}
    maps: Mapping[str, list[list[Any]]] = stats["maps"] or {}
    return {
        "total": stats["total"],
        "by_status": {status: statuses.get(status, 0) for status in _STATUSES},
        **{name: dict(maps.get(name, [])) for name in ("by_kind", "by_version", "by_os", "by_region")},
        "totals": {name: stats[name] for name in _TOTALS},
        "licenses": {
            "active": stats["licenses_active"],
            "expiring_30d": stats["licenses_expiring"],
            "expired": stats["licenses_expired"],
        },
        "alerts": {"open": stats["alerts_open"], "critical": stats["alerts_critical"]},
        "releases": {"latest_stable": stats["latest_stable"]},
        "generated_at": stats["at"],
    }


ROUTES: Final = (Route("GET", "/management/v1/fleet/stats", fleet_stats),)
