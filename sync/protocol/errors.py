"""Whose fault it is, as types.

ProtocolError
├── RemoteProtocolError   the peer broke the framing: the connection closes with the `close` it carries
├── LocalProtocolError    a bug of this process: the connection's methods were called in the wrong state
├── ParamsError           the frame is sound, its params are not: `invalid_params`, or silence
└── MalformedCbor         bytes that are no CBOR item within the bounds; never leaves `sync/protocol/`

No text of these holds any part of what the peer sent.
"""

from less_sync.sync.protocol.codes import Close


class ProtocolError(Exception):
    """Root of this package's errors."""


class RemoteProtocolError(ProtocolError):
    """The peer's fault, answered by closing the connection with `close` (docs/protocol.md 11)."""

    def __init__(self, close: Close) -> None:
        super().__init__(close)
        self.close = close

    def __str__(self) -> str:
        return f"close {self.close.code:d}: {self.close.reason}"


class LocalProtocolError(ProtocolError):
    """Our own fault: a method that the connection's state does not allow."""

    def __init__(self, *, expected: str, came: str) -> None:
        super().__init__(expected, came)
        self.expected = expected
        self.came = came

    def __str__(self) -> str:
        return f"expected {self.expected}, came {self.came}"


class ParamsError(ProtocolError):
    """Params, or a result, that do not have the shape of their type (docs/protocol.md 3.5).

    `detail` names the field and what was expected there.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"params do not have the shape of their method: {self.detail}"


class MalformedCbor(ProtocolError):
    """Not well-formed, not UTF-8, nested too deep, or more items than are looked at."""

    def __str__(self) -> str:
        return "malformed CBOR"
