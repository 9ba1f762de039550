"""When its time is over a connection is closed at once: replies of written pushes are dropped."""

from typing import Final

from tests.simulation.parts import Parts
from tests.simulation.system import CLIENTS, Close, Services, Session, SessionFactory


class AbruptSession(Session):
    """Lifetime and expiry close as anything else does."""

    __slots__ = ()

    def _retire_in_time(self, close: Close) -> None:
        self.close(close)


def _sessions(services: Services) -> SessionFactory:
    return lambda wire: AbruptSession(services, wire, CLIENTS)


PARTS: Final = Parts(sessions=_sessions)
