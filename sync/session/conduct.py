"""What differs between the connections of clients and those that other servers open, as one value."""

from dataclasses import dataclass
from typing import Protocol

from less_sync.sync.limits import Limits
from less_sync.sync.metrics import CLIENT
from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.rpc.dispatch import MethodTable
from less_sync.sync.session.outbound import Outbound


class Places(Protocol):
    """How many connections one person, or one server, may have."""

    def take(self, person: str, out: Outbound) -> Close | None:
        """Count one connection more. When that is one too many: the close to refuse it with, and nothing is
        counted."""

    def give_back(self, person: str, out: Outbound) -> None:
        """A connection that was counted has ended, and so has all it had asked to be written."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How the server treats connections of one kind. One value serves all of them."""

    table: MethodTable
    """What may be said."""
    places: Places
    limits: Limits
    """Bounds and timers that hold for this kind."""
    outbound: type[Outbound] = Outbound
    """The sending half."""
    reads_mailbox: bool = True
    """It hears of invitations to its mailbox."""
    end_of_life: Close = codes.LIFETIME_REACHED
    """How a connection is closed that has become too old."""
    kind: str = CLIENT
    """As what connections are counted."""
    long_answers_at_once: int = 1
    """Pulls and listings that run beside one another; chunks of several are mixed."""
