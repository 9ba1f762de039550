"""Routes as rows, and finding the one that a path means."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from less_sync.fleet.api.call import Answer, Call

if TYPE_CHECKING:
    from less_sync.fleet.plane import Plane

Handler = Callable[["Plane", Call], Awaitable[Answer]]

BODY_BYTES_MAX: Final = 1024 * 1024
_PARAMETER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Route:
    """One row: `path` has `{name}` for a part that is anything but empty and without a slash."""

    method: str
    path: str
    handler: Handler
    body_bytes_max: int = BODY_BYTES_MAX
    quiet: bool = False
    """Its good answers are logged at DEBUG."""
    credentials: Callable[["Plane", Call], Awaitable[None]] | None = None
    """Of a route that looks its credentials up with its work: asked before a request is refused for anything
    else, and raises when the credentials are the reason."""


@dataclass(slots=True)
class Place:
    """A path template and the routes that it has, by method."""

    path: str
    pattern: re.Pattern[str]
    routes: dict[str, Route] = field(default_factory=dict)

    @property
    def allowed(self) -> list[str]:
        """The methods, HEAD with GET."""
        return [*self.routes, *(["HEAD"] if "GET" in self.routes else [])]


class Router:
    """Finds places by path. One without parameters wins over those with some, whatever their order."""

    def __init__(self, routes: Iterable[Route]) -> None:
        places: dict[str, Place] = {}
        for route in routes:
            place = places.setdefault(route.path, Place(route.path, _pattern(route.path)))
            if route.method in place.routes:
                raise RuntimeError(f"{route.method} {route.path} is there twice")
            place.routes[route.method] = route
        self._fixed: Final = {path: place for path, place in places.items() if not _PARAMETER.search(path)}
        # Fewer parameters first: `/deliveries/{id}` before `/{webhook_id}/{what}`.
        self._others: Final = sorted(
            (place for path, place in places.items() if path not in self._fixed),
            key=lambda place: place.path.count("{"),
        )

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return [*self._fixed.values(), *self._others]

    def find(self, path: str) -> tuple[Place | None, Mapping[str, str]]:
        """The place that a decoded path means, and its parameters."""
        fixed = self._fixed.get(path)
        if fixed is not None:
            return fixed, {}
        for place in self._others:
            match = place.pattern.fullmatch(path)
            if match is not None:
                return place, match.groupdict()
        return None, {}


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)
    return re.compile(
        "".join(f"(?P<{part}>[^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
    )
