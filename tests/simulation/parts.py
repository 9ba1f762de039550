"""What a run may take another implementation of: the place where mutants are handed in."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.system import PushLanes, Services, SessionFactory, client_sessions


def _as_they_are(services: Services) -> None:
    """The server's own services."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The server's own, unless another one is named."""

    lanes: type[PushLanes] = PushLanes
    sessions: Callable[[Services], SessionFactory] = client_sessions
    alter: Callable[[Services], None] = _as_they_are
    """Puts other services in place before anybody comes."""
