"""What a server's side of a connection may receive, and when (docs/protocol.md 2.2, 2.4 and 3.4).

A connection awaits one binary auth frame. While its token is validated, which takes I/O, nothing is decoded:
the session keeps what arrives. Once open, every message is a request, a notification or nothing. A violation
raises `RemoteProtocolError` with the close to send; from then on, and from any close of our own, input is
discarded, since a peer may have bytes in flight that must not turn the close into a reset.

              AUTH               AUTHENTICATED
AWAITING_AUTH ───▶ AUTHENTICATING ───▶ OPEN ⟲ MESSAGE
      │ CLOSE            │ CLOSE        │ CLOSE
      └──────────────▶ CLOSING ◀────────┘            any state, LOST ──▶ CLOSED
"""

from enum import Enum, auto
from typing import Final

from less_sync.sync.protocol.codes import EXPECTED_BINARY, EXPECTED_BINARY_AUTH, Close
from less_sync.sync.protocol.errors import LocalProtocolError, RemoteProtocolError
from less_sync.sync.protocol.frames import (
    DEFAULT_BOUNDS,
    FrameBounds,
    Notification,
    Request,
    decode_auth,
    decode_frame,
)
from less_sync.sync.protocol.messages import Message


class State(Enum):
    """Where a connection stands."""

    AWAITING_AUTH = auto()
    AUTHENTICATING = auto()
    OPEN = auto()
    CLOSING = auto()
    CLOSED = auto()


class Step(Enum):
    """What moves it."""

    AUTH = auto()  # an auth frame was read
    AUTHENTICATED = auto()  # its token is good and the connection registered
    MESSAGE = auto()  # a message after the handshake
    CLOSE = auto()  # this side closes
    LOST = auto()  # the transport is gone


TRANSITIONS: Final[dict[State, dict[Step, State]]] = {
    State.AWAITING_AUTH: {
        Step.AUTH: State.AUTHENTICATING,
        Step.CLOSE: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.AUTHENTICATING: {
        Step.AUTHENTICATED: State.OPEN,
        Step.CLOSE: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.OPEN: {
        Step.MESSAGE: State.OPEN,
        Step.CLOSE: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.CLOSING: {
        Step.MESSAGE: State.CLOSING,
        Step.CLOSE: State.CLOSING,
        Step.LOST: State.CLOSED,
    },
    State.CLOSED: {
        Step.LOST: State.CLOSED,
    },
}
"""What may happen in each state, and where it leads. Anything else is a bug of ours."""


class Authenticate(Message, frozen=True):
    """The first message was well-formed: validate its token, then call `authenticated()` or `close()`."""

    token: str
    did_proof: str = ""


Event = Authenticate | Request | Notification


class Connection:
    """The states of one accepted connection.

    A method whose step the state does not have raises `LocalProtocolError`.
    """

    __slots__ = ("_bounds", "_state", "closed_with")

    def __init__(self, bounds: FrameBounds = DEFAULT_BOUNDS) -> None:
        self._state = State.AWAITING_AUTH
        self._bounds = bounds
        self.closed_with: Close | None = None
        """The close this side decided on first; None while there is none."""

    @property
    def state(self) -> State:
        return self._state

    def receive_binary(self, data: bytes) -> Event | None:
        """Take one binary message; None when there is nothing to do about it.

        Raises:
            RemoteProtocolError: the peer broke the protocol; now CLOSING, with a close to be sent.
            LocalProtocolError: while AUTHENTICATING, when messages must wait, or CLOSED.
        """
        try:
            if self._state is State.OPEN:
                return decode_frame(data, self._bounds)
            if self._state is State.AWAITING_AUTH:
                shown = decode_auth(data, depth_max=self._bounds.depth)
                self._step(Step.AUTH)
                return Authenticate(shown.token, shown.did_proof)
        except RemoteProtocolError as error:
            self.close(error.close)
            raise
        self._step(Step.MESSAGE)
        return None

    def receive_text(self) -> None:
        """Take one text message, whatever is in it.

        Raises:
            RemoteProtocolError: always, but while CLOSING.
            LocalProtocolError: while AUTHENTICATING, or CLOSED.
        """
        if self._state is State.AWAITING_AUTH:
            self.close(EXPECTED_BINARY_AUTH)
            raise RemoteProtocolError(EXPECTED_BINARY_AUTH)
        if self._state is State.OPEN:
            self.close(EXPECTED_BINARY)
            raise RemoteProtocolError(EXPECTED_BINARY)
        self._step(Step.MESSAGE)

    def known(self) -> None:
        """Who speaks is known without a first message: call `authenticated()` or `close()`."""
        self._step(Step.AUTH)

    def authenticated(self) -> None:
        """The token of `Authenticate` is good: messages are decoded from now on."""
        self._step(Step.AUTHENTICATED)

    def close(self, close: Close) -> None:
        """This side closes with `close`, unless it decided on another before; later input is discarded."""
        self._step(Step.CLOSE)
        if self.closed_with is None:
            self.closed_with = close

    def lost(self) -> None:
        """The transport is gone."""
        self._step(Step.LOST)

    def _step(self, step: Step) -> None:
        allowed = TRANSITIONS[self._state]
        if step not in allowed:
            expected = " or ".join(one.name for one in allowed)
            raise LocalProtocolError(expected=f"{expected} in {self._state.name}", came=step.name)
        self._state = allowed[step]
