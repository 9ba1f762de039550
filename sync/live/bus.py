"""What the nodes of one cluster tell each other by (docs/scaling.md 3).

A *node* is one server process. A *bus* carries *news* from one to all others that listen to a subject. It may
lose, repeat and reorder what it carries: whoever hears it knows from the database what is true.
"""

from collections.abc import Callable
from typing import Final, Protocol
from uuid import UUID

CONFIRM_S_MAX: Final = 0.2
"""How long anybody waits until a bus listens. Beyond it the comparison heals what was missed."""
SUBJECT_OF_NODES: Final = "nodes"
"""Signs of life and ends of nodes, spaces created, invitations stored: heard by every node, always."""

Hear = Callable[[bytes], None]
"""Takes one message of any subject listened to. Must not block or raise."""
Reconnected = Callable[[], None]
"""Told each time the connection is there again: news was lost meanwhile."""


def subject_of(space: UUID) -> str:
    """The subject that the news of one space has: `s.` and its id in 32 hex digits."""
    return f"s.{space.hex}"


class Bus(Protocol):
    """A connection to the other nodes. Everything runs on one event loop.

    Subjects are given without the cluster's prefix. What this node publishes does not come back to it.
    """

    @property
    def connected(self) -> bool:
        """Whether what is published now may arrive."""

    def attach(self, hear: Hear, reconnected: Reconnected) -> None:
        """Say who takes what comes. Called once, before anything is listened to."""

    def publish(self, subject: str, message: bytes) -> None:
        """Send to whoever listens, in order; never blocks. Dropped and counted when too much waits."""

    def listen(self, subject: str) -> None:
        """Hear of a subject from now on, after a reconnect too. Asked twice it is one."""

    def leave(self, subject: str) -> None:
        """Hear of it no more."""

    async def confirmed(self) -> bool:
        """Wait until everything listened to before this call is heard, for `CONFIRM_S_MAX` at most.

        False: it is not, or nobody knows. Waits that coincide share one round trip.
        """
