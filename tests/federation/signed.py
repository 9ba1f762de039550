"""Requests to upgrade as a peer sends them: signed, and wrong in whatever way a test wants."""

import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nacl.signing import SigningKey

from less_sync.auth import FederationTrust, Identity, b64url_encode
from less_sync.federation.gate import PeerGate
from less_sync.federation.settings import FederationSettings
from less_sync.sync.http.socket import CLIENT_PATH, GuardedRoute, Route
from less_sync.sync.services import Services
from less_sync.sync.session.clients import client_sessions
from less_sync.sync.session.session import SessionWire
from tests.sync.http.test_socket import Parrot

PATH: Final = "/api/v1/federation/ws"
COVERED: Final = ("@method", "@target-uri", "host")


@dataclass(frozen=True, slots=True)
class Peer:
    """A server with one key."""

    host: str = "peer.example.com"
    name: str = "fed-1"
    port: int | None = None
    scheme: str = "https"
    key: SigningKey = field(default_factory=SigningKey.generate, repr=False)

    @property
    def key_id(self) -> str:
        authority = self.host if self.port is None else f"{self.host}:{self.port}"
        return f"{self.scheme}://{authority}/.well-known/jwks.json#{self.name}"

    @property
    def public(self) -> bytes:
        return bytes(self.key.verify_key)

    def trust(self, *domains: str) -> FederationTrust:
        """Trust in this peer's key, and in its host unless others are named."""
        return FederationTrust(tuple(sorted(domains)) or (self.host,), {self.key_id: self.public})

    def entry(self, **changes: Any) -> dict[str, Any]:
        """Its key as an entry of a key set."""
        base = {"kid": self.key_id, "kty": "OKP", "alg": "EdDSA", "use": "federation", "crv": "Ed25519"}
        return {**base, "x": b64url_encode(self.public), **changes}

    def signature(
        self,
        host: str,
        *,
        scheme: str = "ws",
        target: str = PATH,
        created: float | None = None,
        covered: tuple[str, ...] = COVERED,
        parameters: str | None = None,
        values: Mapping[str, str] | None = None,
    ) -> dict[str, str]:
        """The headers of a request to upgrade.

        Args:
            parameters: what stands behind the list of components instead of key id, algorithm and time.
            values: of further covered headers, which are sent too.
        """
        at = int(time.time()) if created is None else int(created)
        rest = f';keyid="{self.key_id}";alg="ed25519";created={at}' if parameters is None else parameters
        listed = " ".join(f'"{name}"' for name in covered)
        known = {
            "@method": "GET",
            "@target-uri": f"{scheme}://{host}{target}",
            "host": host,
            **(values or {}),
        }
        lines = [f'"{name}": {known[name]}' for name in covered]
        base = "\n".join([*lines, f'"@signature-params": ({listed}){rest}'])
        made = b64encode(self.key.sign(base.encode()).signature).decode()
        return {
            "Host": host,
            "Signature-Input": f"sig=({listed}){rest}",
            "Signature": f"sig=:{made}:",
            **(values or {}),
        }


def upgrade(headers: Mapping[str, str | None], *, target: str = PATH) -> bytes:
    """A request to upgrade with these headers beside the usual ones; None leaves one out."""
    fields = {
        "Host": "sync.example.com",
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "betterbase-rpc-v1, less-rpc-v1",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
    return f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


class Named(Parrot):
    """A session that first says who is there, then says back what it hears."""

    def __init__(self, wire: SessionWire, identity: Identity) -> None:
        super().__init__(wire)
        wire.write(wire.frame(identity.mailbox_id.encode()))


def gate_of(settings: FederationSettings, **options: Any) -> Callable[[Services], Mapping[bytes, Route]]:
    """The WebSockets of a server: clients, and peers as these settings say."""

    def routes(services: Services) -> Mapping[bytes, Route]:
        guarded = GuardedRoute(PeerGate(settings, **options), Named)
        return {CLIENT_PATH: client_sessions(services), PATH.encode(): guarded}

    return routes
