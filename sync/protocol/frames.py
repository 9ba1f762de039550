"""Frames to and from CBOR: request, response, notification, chunk, keepalive (protocol 3.1 and 4).

Reading: strict cbor2 first; what it refuses is read again by the bounded scanner, which knows what the
protocol ignores. `params` of a frame is opaque here and goes to `messages.decode_params`.

Writing: keys stand in the order in which protocol 4 declares them, lengths are definite, integers shortest.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import cbor2
from cbor2 import CBORDecodeError
from msgspec import UNSET, Struct, UnsetType, to_builtins

from less_sync.sync.protocol.cbor import MAP, head, integer, text
from less_sync.sync.protocol.codes import (
    EMPTY_AUTH,
    EMPTY_FRAME,
    EMPTY_TOKEN,
    FIRST_FRAME_NOT_AUTH,
    INVALID_AUTH,
    INVALID_FRAME,
    REQUEST_ID_TOO_LONG,
)
from less_sync.sync.protocol.errors import MalformedCbor, ParamsError, RemoteProtocolError
from less_sync.sync.protocol.messages import AuthParams, Message, PushResult, decode_params
from less_sync.sync.protocol.scanner import DEPTH_MAX, scan_frame

REQUEST, RESPONSE, NOTIFICATION, CHUNK = 0, 1, 2, 3
"""Values of `type`. Any other integer is ignored on receipt."""

KEEPALIVE: Final = b"\xf6"
"""The whole message, one byte: CBOR null."""

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""Clients drop larger frames (gap G16)."""

REQUEST_ID_BYTES_MAX: Final = 256
AUTH_ITEMS_MAX: Final = 1000
"""CBOR items looked at before anybody has authenticated; an auth frame has eight."""


class Request(Message, frozen=True):
    """A call to be answered under `id`; `params` as decoded, None when the key was missing."""

    id: str
    method: str
    params: object


class Notification(Message, frozen=True):
    """A message that is never answered; `params` as decoded, None when the key was missing."""

    method: str
    params: object


class RpcError(Message, frozen=True):
    """`error` of a response; `code` is an `ErrorCode`, or one this version does not know."""

    code: str
    message: str = ""


class Response(Message, frozen=True):
    """The answer to a request: `error` is None when it succeeded, `result` is UNSET when it failed."""

    id: str
    result: object | UnsetType = UNSET
    error: RpcError | None = None


class Chunk(Message, frozen=True):
    """One piece of an answer; all pieces come before the response of the same `id`."""

    id: str
    name: str
    data: object


class EncodedResult(Message, frozen=True):
    """A result that is CBOR already: a handler's, that joined it from parts."""

    body: bytes


# Reading.


class _NoTags(dict[int, Callable[[Any, bool], Any]]):
    """A decoder for each tag there is: one that refuses, so that no tag is ever given a meaning."""

    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag


def _refuse_tag(value: object, immutable: bool) -> object:
    raise CBORDecodeError("tagged")


_NO_TAGS: Final = _NoTags()


def _read(data: bytes, *, depth_max: int) -> dict[object, object] | dict[str, object]:
    """The map that a frame is.

    Raises:
        MalformedCbor: it is none.
    """
    try:
        frame = cbor2.loads(
            data,
            semantic_decoders=_NO_TAGS,
            max_depth=depth_max,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
    except CBORDecodeError:
        return scan_frame(data, depth_max=depth_max)
    if type(frame) is not dict:
        raise MalformedCbor
    return frame


def _fields(data: bytes, *, depth_max: int) -> tuple[int, str, str, Mapping[Any, object]]:
    """`type`, `id`, `method` (both "" when missing) and the whole map, by protocol 4.2, step A."""
    if not data:
        raise RemoteProtocolError(EMPTY_FRAME)
    try:
        frame: Mapping[Any, object] = _read(data, depth_max=depth_max)
    except MalformedCbor:
        raise RemoteProtocolError(INVALID_FRAME) from None
    kind = frame.get("type")
    id = frame.get("id", "")
    method = frame.get("method", "")
    if (
        type(kind) is not int
        or not -(1 << 31) <= kind < 1 << 31
        or type(id) is not str
        or type(method) is not str
    ):
        raise RemoteProtocolError(INVALID_FRAME)
    for key in frame:
        if type(key) is not str:
            raise RemoteProtocolError(INVALID_FRAME)
    return kind, id, method, frame


def decode_frame(
    data: bytes, *, request_id_bytes_max: int = REQUEST_ID_BYTES_MAX, depth_max: int = DEPTH_MAX
) -> Request | Notification | None:
    """Decode one binary message of a client after the handshake; None for one to be ignored (protocol 4.2).

    Raises:
        RemoteProtocolError: with the close of protocol 4.2, step A, or `request id too long`.
    """
    if data == KEEPALIVE:
        return None
    kind, id, method, frame = _fields(data, depth_max=depth_max)
    if kind == REQUEST:
        # An id is echoed in every chunk of an answer: bounded, against amplification.
        if len(id) * 4 > request_id_bytes_max and len(id.encode()) > request_id_bytes_max:
            raise RemoteProtocolError(REQUEST_ID_TOO_LONG)
        return Request(id, method, frame.get("params"))
    if kind == NOTIFICATION:
        return Notification(method, frame.get("params"))
    return None


def decode_auth(data: bytes, *, depth_max: int = DEPTH_MAX) -> str:
    """Return the token of the first message (protocol 3.1).

    Read by the scanner alone: its caller is a stranger, so the items looked at are few whatever the size.

    Raises:
        RemoteProtocolError: close 4000 with the reason of protocol 3.1.
    """
    if not data:
        raise RemoteProtocolError(EMPTY_AUTH)
    try:
        frame = scan_frame(data, depth_max=depth_max, items_max=AUTH_ITEMS_MAX)
        token = decode_params(AuthParams, frame.get("params")).token
    except (MalformedCbor, ParamsError):
        raise RemoteProtocolError(INVALID_AUTH) from None
    kind = frame.get("type")
    method = frame.get("method")
    if type(kind) is not int or not -(1 << 31) <= kind < 1 << 31 or type(method) is not str:
        raise RemoteProtocolError(INVALID_AUTH)
    if kind != NOTIFICATION or method != "auth":
        raise RemoteProtocolError(FIRST_FRAME_NOT_AUTH)
    if not token:
        raise RemoteProtocolError(EMPTY_TOKEN)
    return token


def decode_server_frame(data: bytes, *, depth_max: int = DEPTH_MAX) -> Response | Chunk | Notification | None:
    """Decode one binary message of a server; None for a keepalive, a request or an unknown type (protocol 4).

    Raises:
        RemoteProtocolError: no frame, a response without a readable outcome, or a chunk without a name.
    """
    if data == KEEPALIVE:
        return None
    kind, id, method, frame = _fields(data, depth_max=depth_max)
    if kind == NOTIFICATION:
        return Notification(method, frame.get("params"))
    if kind == CHUNK:
        name = frame.get("name")
        if type(name) is not str:
            raise RemoteProtocolError(INVALID_FRAME)
        return Chunk(id, name, frame.get("data"))
    if kind != RESPONSE:
        return None
    if "error" in frame:
        try:
            return Response(id, error=decode_params(RpcError, frame["error"]))
        except ParamsError:
            raise RemoteProtocolError(INVALID_FRAME) from None
    if "result" not in frame:
        raise RemoteProtocolError(INVALID_FRAME)
    return Response(id, frame["result"])


# Writing.

_RESPONSE_HEAD: Final = b"\xa3dtype\x01bid"
_CHUNK_HEAD: Final = b"\xa4dtype\x03bid"
_NOTIFICATION_HEAD: Final = b"\xa3dtype\x02fmethod"
_REQUEST_HEAD: Final = b"\xa4dtype\x00bid"
_PARAMS_KEY: Final = b"fparams"


def encode_value(value: Struct | Mapping[str, object]) -> bytes:
    """CBOR of a result, of params or of a chunk's data, without those fields that have their default."""
    return cbor2.dumps(to_builtins(value, builtin_types=(bytes,)))


def encode_response(id: str, result: Struct | Mapping[str, object]) -> bytes:
    """A response that carries a result."""
    if type(result) is PushResult:  # as good as every second frame of a busy server
        return _encode_push_response(id, result)
    body = result.body if type(result) is EncodedResult else encode_value(result)
    return b"%b%bfresult%b" % (_RESPONSE_HEAD, text(id), body)


def _encode_push_response(id: str, result: PushResult) -> bytes:
    """The same bytes by hand, at a third of the cost."""
    return b"%b%bfresult%bbok%b%b%b" % (
        _RESPONSE_HEAD,
        text(id),
        head(MAP, 1 + (result.cursor != 0) + (result.error != "")),
        b"\xf5" if result.ok else b"\xf4",
        b"fcursor" + integer(result.cursor) if result.cursor else b"",
        b"eerror" + text(result.error) if result.error else b"",
    )


def encode_error(id: str, code: str, message: str) -> bytes:
    """A response that carries an error; `code` is one of `ErrorCode`."""
    return b"%b%beerror\xa2dcode%bgmessage%b" % (_RESPONSE_HEAD, text(id), text(code), text(message))


def encode_chunk(id: str, name: str, data: Struct | Mapping[str, object]) -> bytes:
    """One chunk of the answer to the request `id`."""
    return b"%b%bdname%bddata%b" % (_CHUNK_HEAD, text(id), text(name), encode_value(data))


def encode_notification(method: str, params: Struct | Mapping[str, object]) -> bytes:
    """A notification, in either direction."""
    return b"%b%b%b%b" % (_NOTIFICATION_HEAD, text(method), _PARAMS_KEY, encode_value(params))


def encode_request(id: str, method: str, params: Struct | Mapping[str, object]) -> bytes:
    """A request, as clients and federating servers send it."""
    return b"%b%bfmethod%b%b%b" % (_REQUEST_HEAD, text(id), text(method), _PARAMS_KEY, encode_value(params))
