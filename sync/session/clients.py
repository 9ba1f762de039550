"""How the connection of a client begins: with a first message that says who it is."""

from collections.abc import Callable
from functools import partial

from less_sync.sync.live.broker import Broker
from less_sync.sync.protocol import codes
from less_sync.sync.protocol.codes import Close
from less_sync.sync.rpc.registry import CLIENTS
from less_sync.sync.services import Services
from less_sync.sync.session.conduct import Conduct
from less_sync.sync.session.outbound import Outbound
from less_sync.sync.session.session import Session, SessionWire


class ClientPlaces:
    """So many connections for each mailbox, or user where there is none."""

    def __init__(self, broker: Broker, *, connections_max: int) -> None:
        self._broker = broker
        self._connections_max = connections_max

    def take(self, person: str, out: Outbound) -> Close | None:
        """Count one connection more, or say how it is refused."""
        if self._broker.take_place(person, connections_max=self._connections_max):
            return None
        return codes.TOO_MANY_CONNECTIONS

    def give_back(self, person: str, out: Outbound) -> None:
        """Count one connection less."""
        self._broker.give_place_back(person)


def client_conduct(services: Services) -> Conduct:
    """How clients are treated."""
    limits = services.limits
    places = ClientPlaces(services.broker, connections_max=limits.connections_per_mailbox)
    return Conduct(CLIENTS, places, limits)


def client_sessions(services: Services) -> Callable[[SessionWire], Session]:
    """What makes the session of each accepted socket."""
    return partial(Session, services, conduct=client_conduct(services))
