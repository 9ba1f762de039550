"""A hang-up cuts a write from its announcement, and gives its rate slot back though it is stored."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from uuid import UUID

from tests.simulation.parts import Parts
from tests.simulation.system import (
    Announcer,
    Change,
    Identity,
    Prepared,
    RateLimits,
    Services,
    Session,
    SessionFactory,
    actor_hash,
    client_conduct,
)

T = TypeVar("T")


class CuttingSession(Session):
    """Every request is a task of the session, which is cancelled when the session ends."""

    __slots__ = ()

    def _begin(self, request: Prepared) -> None:
        self._start(lambda: self._answer(request))


class ForgetfulAnnouncer(Announcer):
    """Announces what was answered. Of what was cut off or lost nothing is said."""

    async def write(
        self, space: UUID, statement: Awaitable[T], announcement: Callable[[T], Change | None]
    ) -> T:
        result = await statement
        change = announcement(result)
        if change is not None:
            self._publish(space, change)
        return result

    def unknown(self, space: UUID, *, told: int | None = None) -> None:
        """Nobody asked."""

    def maybe_revoked(self, space: UUID, cid: str) -> None:
        """Nobody asked."""


class GenerousLimits(RateLimits):
    """A slot is given back whatever the reason."""

    @asynccontextmanager
    async def slot(
        self, action: str, identity: Identity, *, slots_max: int, what: str
    ) -> AsyncIterator[None]:
        if self._key is None:
            yield
            return
        taken = await self._take(action, actor_hash(self._key, identity), slots_max, what)
        try:
            yield
        except BaseException:
            await self._give_back(taken)
            raise


def _alter(services: Services) -> None:
    services.announce = ForgetfulAnnouncer(
        services.broker, services.presence, services.mailboxes, services.spaces
    )
    rates = services.rates
    services.rates = GenerousLimits(rates._store, key=rates._key, window_s=rates._window_s)


def _sessions(services: Services) -> SessionFactory:
    conduct = client_conduct(services)
    return lambda wire: CuttingSession(services, wire, conduct)


PARTS: Final = Parts(sessions=_sessions, alter=_alter)
