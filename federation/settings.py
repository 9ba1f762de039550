"""What an operator decides about other servers (docs/settings.md). Read from the environment by `bins`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from less_sync.auth import FST_LIFE_S_MAX, FederationTrust


class NoticesFrom(StrEnum):
    """Whose `sync`, `membership`, `file` and `revoked` are believed on a connection that a peer opened."""

    HOME = "home"  # of the server that is the space's home
    SUBSCRIBED = "subscribed"  # of any peer that is subscribed to the space
    OFF = "off"


@dataclass(frozen=True, slots=True)
class PeerQuotas:
    """What one peer may use of this server, over all its connections."""

    spaces: int = 1000
    """Subscriptions at a time; a space counts once for each connection that holds it."""
    records_per_hour: int = 10_000
    bytes_per_hour: int = 524_288_000
    """Of blobs and DEKs."""
    invitations_per_hour: int = 100
    connections: int = 3


@dataclass(frozen=True, slots=True)
class FederationSettings:
    """All of it. Without trust and without a signing key the server is alone."""

    domain: str | None = None
    """Our own public name, `host` or `host:port`."""
    trust: FederationTrust = field(default_factory=FederationTrust)
    fetch_keys: bool = False
    """Keys of trusted domains that are not configured are fetched from their key sets."""
    trust_forwarded_proto: bool = False
    peer_urls: Mapping[str, str] = field(default_factory=dict)
    """Host, in the form of a peer's identity, to the `ws` or `wss` URL that is dialled."""
    sign_schemes: tuple[str, ...] | None = None
    """Schemes written into what is signed, in the order in which they are tried; None: by the URL."""
    notices_from: NoticesFrom = NoticesFrom.HOME
    private_networks: bool = False
    """Key sets may be fetched over plain HTTP and from addresses that are not public."""
    key_reload_s: int = 60
    """How often our own keys are read again; 0: at start alone."""
    fst_secret: str | None = field(default=None, repr=False)
    fst_previous_secret: str | None = field(default=None, repr=False)
    fst_life_s_max: int = FST_LIFE_S_MAX
    quotas: PeerQuotas = field(default_factory=PeerQuotas)

    @property
    def accepts_peers(self) -> bool:
        """Whether anybody can be let in: a key is known, or may be fetched."""
        return bool(self.trust.keys) or (self.fetch_keys and bool(self.trust.domains))
