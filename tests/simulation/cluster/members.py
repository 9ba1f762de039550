"""The clients of a cluster."""

from tests.simulation.actor import Actor, Stage
from tests.simulation.cast import SHARED


class Member(Actor):
    """Takes part in the shared space, through whichever node."""

    def visit(self, stage: Stage) -> None:
        """Connect there."""
        self.stage = stage
        self.connect()
        self.calm()

    def come_back(self) -> None:
        """Connect with a UCAN that is not revoked, and show that one is there."""
        revoked = self.stage.tables.revoked
        for number, (_, cid) in enumerate(self.person.grants):
            if (SHARED, cid) not in revoked:
                self._grant = number
                break
        self.connect()
        self.calm()
        self._subscribe()
        self.show()

    def write(self) -> None:
        """Push something into the shared space."""
        if self._witness is not None:
            self.push(str(SHARED), self._granted()[0])

    def show(self) -> None:
        """`presence.set`, with what the connection is known by."""
        if self._witness is not None:
            self.tell("presence.set", {"space": str(SHARED), "data": self._witness.own_mark})
