"""`GET /management/v1/health`: whether this instance can work (docs/fleet.md 3.5), and `/` for browsers."""

from typing import TYPE_CHECKING, Final

from less_sync.fleet.api.call import Answer, Call
from less_sync.fleet.api.routing import Route

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane


async def health(plane: "Plane", _call: Call) -> Answer:
    """200 while the database answers and no end is near, else 503 with the reason."""
    well = await plane.probe.healthy()
    content = {
        "status": "healthy" if well and not plane.draining else "unhealthy",
        "version": plane.version,
        "database": "ok" if well else "unavailable",
    }
    if plane.draining:
        content["error"] = "shutting down"
    return Answer(200 if content["status"] == "healthy" else 503, content)


async def root(_plane: "Plane", _call: Call) -> Answer:
    """The address that a start prints shows something."""
    return Answer(302, headers=[("Location", "/admin/")])


ROUTES: Final = (
    Route("GET", "/management/v1/health", health, quiet=True),
    Route("GET", "/", root, quiet=True),
)
