"""What a run may take another implementation of: the place where mutants are handed in."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.system import (
    Announcer,
    PushLanes,
    RateLimits,
    Services,
    SessionFactory,
    client_sessions,
)


def _announcer(services: Services) -> Announcer:
    return services.announce


def _rates(services: Services) -> RateLimits:
    return services.rates


@dataclass(frozen=True, slots=True)
class Parts:
    """The server's own, unless another one is named."""

    lanes: type[PushLanes] = PushLanes
    announcer: Callable[[Services], Announcer] = _announcer
    rates: Callable[[Services], RateLimits] = _rates
    sessions: Callable[[Services], SessionFactory] = client_sessions
