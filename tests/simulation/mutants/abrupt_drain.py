"""Draining closes sessions at once: replies of written pushes are dropped."""

from typing import Final

from tests.simulation.parts import Parts
from tests.simulation.system import Services, Sessions


class AbruptSessions(Sessions):
    """A drain gives nobody time to end what was begun."""

    def drain(self, *, spread_s: float, within_s: float) -> None:
        super().drain(spread_s=spread_s, within_s=0.0)


def _alter(services: Services) -> None:
    services.sessions = AbruptSessions()


PARTS: Final = Parts(alter=_alter)
