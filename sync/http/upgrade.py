"""Whether a request becomes a WebSocket: the checks of an upgrade, in one table for everybody who asks.

The HTTP protocol asks before it hands a connection over; the plain routes ask to say why it did not.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from less_sync.auth import SignedRequest


class UpgradeRequest:
    """What the checks look at, read once from a request's head.

    Args:
        http_version: `1.1` or `1.0`.
        lines: header lines in order, names in lower case.
        subprotocols: those that are accepted, preferred first.
        target: as on the request line.
    """

    __slots__ = ("_fields", "http_version", "method", "subprotocol", "target")

    def __init__(
        self,
        method: str,
        http_version: str,
        lines: Iterable[tuple[bytes, bytes]],
        subprotocols: Sequence[str],
        target: bytes = b"",
    ) -> None:
        self.method = method
        self.target = target
        self.http_version = http_version
        self._fields: dict[bytes, list[bytes]] = {}
        for name, value in lines:
            self._fields.setdefault(name, []).append(value)
        offered = [token.strip() for token in self.joined(b"sec-websocket-protocol", b",").split(b",")]
        self.subprotocol: str | None = None
        """The first accepted one that any header line offers, compared exactly."""
        for protocol in subprotocols:
            if protocol.encode() in offered:
                self.subprotocol = protocol
                break

    def values(self, name: bytes) -> Sequence[bytes]:
        """The values of a header, one for each of its lines."""
        return self._fields.get(name, ())

    def joined(self, name: bytes, separator: bytes = b"\n") -> bytes:
        """The same in one; no value has an end of line."""
        return separator.join(self._fields.get(name, ()))

    @property
    def key(self) -> str:
        """The first `Sec-WebSocket-Key`; its form is not looked at."""
        return self.values(b"sec-websocket-key")[0].decode("latin-1")

    def signed(self) -> SignedRequest:
        """The request as signatures see it: of each header its first line."""
        first = {name.decode("latin-1"): values[0].decode("latin-1") for name, values in self._fields.items()}
        return SignedRequest(self.method, self.target.decode("latin-1"), first)


class Refusal(NamedTuple):
    """The answer to a request that fails a check."""

    status: int
    text: str | None = None
    """The body, `text/plain`; None: there is none, nor a `Content-Type`."""
    allow: str | None = None
    """`Allow`."""


class Check(NamedTuple):
    """One row: what must hold, and the answer if it does not."""

    holds: Callable[[UpgradeRequest], bool]
    otherwise: Refusal


ALLOW: Final = "GET,HEAD"
"""What `Allow` says of a WebSocket route, though HEAD is refused: as the existing server."""
CANNOT_UPGRADE: Final = Refusal(426, "the connection cannot be upgraded")

CHECKS: Final = (
    Check(lambda request: request.method != "OPTIONS", Refusal(204)),
    Check(lambda request: request.method != "HEAD", Refusal(405, "")),
    Check(lambda request: request.method == "GET", Refusal(405, allow=ALLOW)),
    Check(
        lambda request: b"upgrade" in request.joined(b"connection").lower(),
        Refusal(400, "Connection header did not include 'upgrade'"),
    ),
    Check(
        lambda request: b"websocket" in request.joined(b"upgrade").lower().split(b"\n"),
        Refusal(400, "`Upgrade` header did not include 'websocket'"),
    ),
    Check(
        lambda request: bool(request.values(b"sec-websocket-key")),
        Refusal(400, "`Sec-WebSocket-Key` header missing"),
    ),
    Check(
        lambda request: request.values(b"sec-websocket-version")[:1] == [b"13"],
        Refusal(400, "`Sec-WebSocket-Version` header did not include '13'"),
    ),
    Check(lambda request: request.http_version == "1.1", CANNOT_UPGRADE),
    Check(lambda request: request.subprotocol is not None, Refusal(400)),
)
"""In the order of docs/protocol.md 2.1, which is that of the existing server."""


def refusal(request: UpgradeRequest) -> Refusal | None:
    """The answer of the first check that fails, or None: the request may be upgraded."""
    for check in CHECKS:
        if not check.holds(request):
            return check.otherwise
    return None
