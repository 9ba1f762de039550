"""A drain that was taken back goes on closing sessions."""

from typing import Final

from tests.simulation.parts import Parts
from tests.simulation.system import Doors, Services, Sessions


class EndlessSessions(Sessions):
    """Opening the doors stops nothing."""

    def reopen(self) -> bool:
        if self.doors is Doors.DRAINING:
            self._doors = Doors.OPEN
        return self.doors is Doors.OPEN


def _alter(services: Services) -> None:
    services.sessions = EndlessSessions()


PARTS: Final = Parts(alter=_alter)
