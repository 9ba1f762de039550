"""When its time is over a connection is closed at once: replies of written pushes are dropped."""

from typing import Final

from tests.simulation.parts import Parts
from tests.simulation.system import Close, Services, Session, SessionFactory, client_conduct


class AbruptSession(Session):
    """Lifetime and expiry close as anything else does."""

    __slots__ = ()

    def _retire_in_time(self, close: Close) -> None:
        self.close(close)


def _sessions(services: Services) -> SessionFactory:
    conduct = client_conduct(services)
    return lambda wire: AbruptSession(services, wire, conduct)


PARTS: Final = Parts(sessions=_sessions)
