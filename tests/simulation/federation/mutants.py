"""Faults of federation, put in one at a time, to prove that the simulation of two servers finds them.

    make simulate SEEDS=500 ARGS='--mutant silent_restore'

| Mutant           | What it does                                                            | First seed |
|------------------|-------------------------------------------------------------------------|------------|
| `silent_restore` | who missed something while a link was down is not told to pull          | 8          |
| `hasty_relay`    | what a home announces overtakes the edge's own pushes before it         | 18         |
| `kept_places`    | subscriptions of a peer that ended stay counted                         | 0          |
| `hopeful_push`   | a push whose outcome is unknown is told to be written                   | 5          |
| `deaf_edge`      | a revocation at the home changes nothing at the edge                    | 23         |
| `trusting_edge`  | what was revoked while a link was down is not looked for                | 37         |
| `late_grant`     | a UCAN granted just before its revocation is taken for granted after it | 209        |
"""

from typing import Final
from uuid import UUID

from tests.simulation.federation.parts import FederatedParts
from tests.simulation.federation.servers import EDGE
from tests.simulation.federation.system import (
    NO_CURSOR,
    Home,
    HomeFault,
    LinkOwner,
    LinkState,
    PeerForwarder,
    PushResult,
    QuotaTracker,
    RestoreCall,
)
from tests.simulation.mutants import Mutant
from tests.simulation.rules import Rule
from tests.simulation.system import Announcer, Change, Notification, Services


class SilentAnnouncer(Announcer):
    """Passes on what carries something, and drops frames that only tell to pull."""

    def relay(self, space: UUID, change: Change) -> None:
        if change.payload_bytes or change.cursor == NO_CURSOR:
            super().relay(space, change)


class HastyAnnouncer(Announcer):
    """Waits for none of the own writes under way."""

    def relay(self, space: UUID, change: Change) -> None:
        self._publish(space, change)


def _announcing(kind: type[Announcer]) -> FederatedParts:
    def alter(name: str, services: Services) -> None:
        if name == EDGE:
            services.announce = kind(services.broker, services.presence, services.mailboxes, services.spaces)

    return FederatedParts(alter=alter)


class ForgetfulTracker(QuotaTracker):
    """Gives back connections alone."""

    def give_spaces_back(self, domain: str, count: int) -> None:
        """They stay counted."""


class HopefulForwarder(PeerForwarder):
    """Hears no answer and thinks the best."""

    async def push(self, space: UUID, home: str, params: bytes, *, person: str) -> PushResult:
        try:
            return await super().push(space, home, params, person=person)
        except HomeFault:
            return PushResult(ok=True, cursor=1)


class _Owner:
    """A home, as its link sees it."""

    def __init__(self, home: LinkOwner) -> None:
        assert isinstance(home, Home)
        self._home = home

    @property
    def wanted(self) -> bool:
        """As the home's."""
        return self._home.wanted

    async def restore(self, call: RestoreCall) -> None:
        """As the home's."""
        await self._home.restore(call)

    def heard(self, notification: Notification) -> None:
        """As the home's."""
        self._home.heard(notification)

    def changed(self, state: LinkState) -> None:
        """As the home's."""
        self._home.changed(state)


class DeafOwner(_Owner):
    """Hears of no revocation."""

    def heard(self, notification: Notification) -> None:
        if notification.method != "revoked":
            super().heard(notification)


class TrustingOwner(_Owner):
    """Once one session has restored a space, all are believed."""

    async def restore(self, call: RestoreCall) -> None:
        await super().restore(call)
        for entry in self._home.entries:
            entry.unchecked.clear()


class LateOwner(_Owner):
    """Does not remember that there was a revocation."""

    def heard(self, notification: Notification) -> None:
        super().heard(notification)
        for entry in self._home.entries:
            entry.revocations = 0


MUTANTS: Final = {
    "silent_restore": Mutant(_announcing(SilentAnnouncer), frozenset({Rule.ANNOUNCED}), 8),
    "hasty_relay": Mutant(_announcing(HastyAnnouncer), frozenset({Rule.CURSORS}), 18),
    "kept_places": Mutant(FederatedParts(quotas=ForgetfulTracker), frozenset({Rule.ZERO}), 0),
    "hopeful_push": Mutant(FederatedParts(forwarder=HopefulForwarder), frozenset({Rule.ONCE}), 5),
    "deaf_edge": Mutant(FederatedParts(owner=DeafOwner), frozenset({Rule.REVOKED}), 23),
    "trusting_edge": Mutant(FederatedParts(owner=TrustingOwner), frozenset({Rule.REVOKED}), 37),
    "late_grant": Mutant(FederatedParts(owner=LateOwner), frozenset({Rule.REVOKED}), 209),
}
