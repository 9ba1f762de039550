"""Every commit is announced when its answer comes: one connection's answers overtake another's."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar
from uuid import UUID

from tests.simulation.parts import Parts
from tests.simulation.system import Announcer, Change, Services

T = TypeVar("T")


class HastyAnnouncer(Announcer):
    """Waits for nothing."""

    async def write(
        self, space: UUID, statement: Awaitable[T], announcement: Callable[[T], Change | None]
    ) -> T:
        result = await statement
        change = announcement(result)
        if change is not None:
            self._publish(space, change)
        return result

    def push_begun(self, space: UUID) -> None:
        """Nobody counts."""

    def push_ended(self, space: UUID, change: Change | None) -> None:
        if change is not None:
            self._publish(space, change)


def _alter(services: Services) -> None:
    services.announce = HastyAnnouncer(
        services.broker, services.presence, services.mailboxes, services.spaces
    )


PARTS: Final = Parts(alter=_alter)
