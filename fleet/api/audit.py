"""`GET /platform/v1/audit`: who changed what (docs/fleet.md 3.5)."""

from typing import TYPE_CHECKING, Final

from less_sync.fleet.api.call import Answer, Call
from less_sync.fleet.api.paging import page, read_page
from less_sync.fleet.api.routing import Route

if TYPE_CHECKING:
    from less_sync.fleet.database import Row
    from less_sync.fleet.plane import Plane

FILTER_CHARACTERS_MAX: Final = 256
_COLUMNS: Final = ("id", "at", "actor", "action", "subject_type", "subject_id", "request_id", "ip", "detail")


async def audit(plane: "Plane", call: Call) -> Answer:
    """A page of the trail, newest first; the hashes are told, so that the chain can be checked elsewhere."""
    query = call.query()
    actor = query.optional_text("actor", at_most=FILTER_CHARACTERS_MAX)
    action = query.optional_text("action", at_most=FILTER_CHARACTERS_MAX)
    subject = query.optional_text("subject", at_most=FILTER_CHARACTERS_MAX)
    since = query.optional_time("since")
    limit, after = read_page(query, tuple[int])
    query.finish()
    before = None if after is None else after[0]
    found = await plane.database.fetch("audit", actor, action, subject, since, before, limit + 1)
    return Answer(200, page("entries", found, limit, _shown, lambda one: (one["id"],)))


def _shown(entry: "Row") -> dict[str, object]:
    told = {name: entry[name] for name in _COLUMNS}
    ip = entry["ip"]
    return told | {
        "ip": None if ip is None else str(ip),
        "prev_hash": entry["prev_hash"].hex(),
        "hash": entry["hash"].hex(),
    }


ROUTES: Final = (Route("GET", "/platform/v1/audit", audit),)
