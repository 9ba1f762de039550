"""The clients of two servers."""

import random

from tests.simulation.actor import Actor, Params, Stage, Temper
from tests.simulation.cast import SHARED
from tests.simulation.line import Schedule


class Member(Actor):
    """Takes part in the shared space, through whichever server."""

    def renew(self) -> None:
        """Take the first UCAN that is not revoked."""
        revoked = self.stage.tables.revoked
        for number, (_, cid) in enumerate(self.person.grants):
            if (SHARED, cid) not in revoked:
                self._grant = number
                return

    def pull_all(self) -> None:
        """Ask for everything in the shared space."""
        entry = {"id": str(SHARED), "since": 0, "ucan": self._granted()[0]}
        self.ask("pull", {"spaces": [entry]}, spaces=(str(SHARED),))

    def subscribe(self) -> None:
        """Listen to the shared space."""
        self._subscribe()


class Neighbour(Member):
    """Uses a space of its own alone."""

    def __init__(
        self, stage: Stage, name: str, temper: Temper, chance: random.Random, schedule: Schedule
    ) -> None:
        super().__init__(stage, name, temper, chance, schedule)
        self._own = str(self.person.space)

    def _space(self) -> tuple[str, str]:
        return self._own, ""

    def _wanted(self) -> list[Params]:
        return [{"id": self._own, "since": 0}]
