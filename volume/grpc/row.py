"""What the table says of one call, and how a row is written so that request and handler belong together."""

import enum
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.message import Message

from less_sync.volume.services import Services


class Kind(enum.Enum):
    """Who sends one message and who sends many."""

    UNARY = "unary"
    SERVER_STREAM = "server stream"
    CLIENT_STREAM = "client stream"


class Maintenance(enum.Enum):
    """Whether a server in maintenance refuses the call."""

    SERVED = "served"
    REFUSED = "refused"
    """After the white list, before any argument is looked at."""
    BY_HANDLER = "by handler"
    """The handler refuses, after what it has to look at first."""


Send = Callable[[Message], Awaitable[None]]
"""Sends one message of a stream; waits while the client takes none."""
_Request = TypeVar("_Request", bound=Message)
Unary = Callable[[Services, _Request], Coroutine[Any, Any, Message]]
ServerStream = Callable[[Services, _Request, Send], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Row:
    """One call. Without a handler it is answered with `UNIMPLEMENTED` once it has passed the checks."""

    name: str
    kind: Kind
    request: type[Message]
    is_guarded: bool
    """Only peers on the white list may call it."""
    maintenance: Maintenance
    handler: Callable[..., Coroutine[Any, Any, Any]] | None
    is_lasting: bool
    """Whether the work goes on to its end without its client."""


def unary(
    name: str,
    request: type[_Request],
    guarded: bool,
    maintenance: Maintenance,
    handler: Unary[_Request] | None,
) -> Row:
    """One message and one answer. The work is always done: half of it would be worse than all for nobody."""
    return Row(name, Kind.UNARY, request, guarded, maintenance, handler, is_lasting=True)


def server_stream(
    name: str,
    request: type[_Request],
    guarded: bool,
    maintenance: Maintenance,
    handler: ServerStream[_Request] | None,
    *,
    lasting: bool = False,
) -> Row:
    """One message and a stream of answers, which ends with its client unless the work is `lasting`."""
    return Row(name, Kind.SERVER_STREAM, request, guarded, maintenance, handler, lasting)


def client_stream(
    name: str, request: type[Message], guarded: bool, maintenance: Maintenance, handler: None
) -> Row:
    """A stream of messages and one answer. None of them is served yet."""
    return Row(name, Kind.CLIENT_STREAM, request, guarded, maintenance, handler, is_lasting=False)
