"""What a run of two servers may take another implementation of: the place where mutants are handed in."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.federation.system import LinkOwner, PeerForwarder, QuotaTracker
from tests.simulation.system import Services


def _as_they_are(name: str, services: Services) -> None:
    """The server's own services."""


def _as_it_is(owner: LinkOwner) -> LinkOwner:
    """The forwarder's own."""
    return owner


@dataclass(frozen=True, slots=True)
class FederatedParts:
    """The servers' own, unless others are named."""

    alter: Callable[[str, Services], None] = _as_they_are
    """Given the name of a server: puts other services in place before anybody comes."""
    owner: Callable[[LinkOwner], LinkOwner] = _as_it_is
    """Stands between a link and whoever made it."""
    forwarder: type[PeerForwarder] = PeerForwarder
    quotas: type[QuotaTracker] = QuotaTracker
