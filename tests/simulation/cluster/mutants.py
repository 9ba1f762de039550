"""Faults between nodes, put in one at a time, to prove that the simulation of a cluster finds them.

    make simulate SEEDS=500 ARGS='--mutant skipped_gap'

| Mutant            | What it does                                                          | First seed |
|-------------------|-----------------------------------------------------------------------|------------|
| `skipped_gap`     | what came early is told after a while, what is before it never        | 0          |
| `late_news`       | what came late is told, though what is behind it was                  | 0          |
| `trusting_bus`    | nothing is compared with the database                                 | 1          |
| `hasty_subscribe` | `subscribe` reads cursors before the bus has confirmed                | 7          |
| `deaf_node`       | of revocations nothing is heard on the bus                            | 31         |
| `patient_groups`  | of whom nothing is heard is there for ever, as long as his node lives | 9          |
| `unread_mailbox`  | of invitations nothing is read from the database                      | 3          |
| `quiet_arrival`   | who begins to listen does not ask who is there                        | 0          |
"""

from collections.abc import Sequence as Many
from typing import Final
from uuid import UUID

from tests.simulation.cluster.bus import SimulatedBus
from tests.simulation.cluster.parts import ClusterParts
from tests.simulation.cluster.system import (
    Comparison,
    InOrder,
    Nodes,
    Notice,
    PresenceElsewhere,
    PresenceEntry,
    Revoked,
    Sequence,
    decode_news,
)
from tests.simulation.mutants import Mutant
from tests.simulation.rules import Rule
from tests.simulation.system import Services


class SkippingOrder(InOrder):
    """Reads no rows."""

    def _fill_soon(self, space: UUID, sequence: Sequence) -> None:
        sequence.stop_waiting()
        while (at := sequence.gap_ends()) < sequence.top and (one := sequence.next(at)) is not None:
            self._tell(space, one.cursor, one.notices)
        self.drop(space)


class BelatedOrder(InOrder):
    """Drops nothing."""

    def take(
        self, space: UUID, cursor: int, notices: Many[Notice], *, size_bytes: int, own: bool = False
    ) -> None:
        if cursor <= self._broker.cursor(space):
            self._tell(space, cursor, notices)
        else:
            super().take(space, cursor, notices, size_bytes=size_bytes, own=own)


class NoComparison(Comparison):
    """Finds nothing."""

    async def once(self) -> None:
        """All is well."""


class HastyBus(SimulatedBus):
    """Has always confirmed."""

    async def confirmed(self) -> bool:
        return self.is_open


class DeafBus(SimulatedBus):
    """Drops every revocation."""

    def take(self, subject: str, message: bytes) -> None:
        if not isinstance(decode_news(message), Revoked):
            super().take(subject, message)


class ForgetfulComparison(Comparison):
    """Reads no mailbox."""

    async def _read_invitations(self) -> None:
        """The bus has told it."""


class PatientPresence(PresenceElsewhere):
    """Looks at no group that was not confirmed."""

    def _look_at_oldest(self, now_s: float) -> None:
        """They will come."""


class QuietPresence(PresenceElsewhere):
    """Asks nobody of its own accord."""

    def look(self, space: UUID) -> list[PresenceEntry]:
        return self.others(space)


def _nodes(services: Services) -> Nodes:
    assert services.nodes is not None, "there is a bus"
    return services.nodes


def _in_order(kind: type[InOrder]) -> ClusterParts:
    def alter(services: Services) -> None:
        nodes = _nodes(services)
        old = nodes.in_order
        nodes.in_order = nodes.comparison._in_order = kind(
            old._broker, old._store, old._settled, frame_bytes_max=old._frame_bytes_max
        )

    return ClusterParts(alter=alter)


def _comparison(kind: type[Comparison]) -> ClusterParts:
    def alter(services: Services) -> None:
        nodes = _nodes(services)
        old = nodes.comparison
        nodes.comparison = kind(
            old._store, old._broker, old._announce, old._mailboxes, old._interests, old._in_order
        )

    return ClusterParts(alter=alter)


def _people(kind: type[PresenceElsewhere]) -> ClusterParts:
    def alter(services: Services) -> None:
        nodes = _nodes(services)
        services.elsewhere = services.announce.elsewhere = nodes.people = kind(
            nodes.node,
            publish=nodes.publish,
            tell=services.announce.publish,
            presence=services.presence,
            limits=services.limits,
            clock=services.clock,
        )

    return ClusterParts(alter=alter)


MUTANTS: Final[dict[str, Mutant[ClusterParts]]] = {
    "skipped_gap": Mutant(_in_order(SkippingOrder), frozenset({Rule.ANNOUNCED}), 0),
    "late_news": Mutant(_in_order(BelatedOrder), frozenset({Rule.CURSORS}), 0),
    "trusting_bus": Mutant(_comparison(NoComparison), frozenset({Rule.ANNOUNCED}), 1),
    "hasty_subscribe": Mutant(ClusterParts(bus=HastyBus), frozenset({Rule.ANNOUNCED}), 7),
    "deaf_node": Mutant(ClusterParts(bus=DeafBus), frozenset({Rule.REVOKED}), 31),
    "patient_groups": Mutant(_people(PatientPresence), frozenset({Rule.PRESENCE}), 9),
    "unread_mailbox": Mutant(_comparison(ForgetfulComparison), frozenset({Rule.INVITED}), 3),
    "quiet_arrival": Mutant(_people(QuietPresence), frozenset({Rule.PRESENCE}), 0),
}
