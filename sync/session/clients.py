"""How the connection of a client begins: with a first message that says who it is."""

from collections.abc import Callable
from functools import partial

from less_sync.sync.rpc.registry import CLIENTS
from less_sync.sync.services import Services
from less_sync.sync.session.session import Session, SessionWire


def client_sessions(services: Services) -> Callable[[SessionWire], Session]:
    """What makes the session of each accepted socket."""
    return partial(Session, services, table=CLIENTS)
