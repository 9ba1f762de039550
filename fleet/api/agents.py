"""Registration, heartbeats, reading and changing agents."""

from typing import Final

from less_sync.fleet.api.routing import Route

ROUTES: Final[tuple[Route, ...]] = ()
