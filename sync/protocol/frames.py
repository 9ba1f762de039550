"""Frames to and from CBOR: request, response, notification, chunk, keepalive (docs/protocol.md 2.2 and 3).

Reading: the items of large frames are counted first. Then strict cbor2; what it refuses is read again by the
bounded scanner, which knows what the protocol ignores. `params` of a frame is opaque here and goes to
`messages.decode_params`.

Writing: keys stand in the order in which docs/protocol.md 3.1 declares them, lengths are definite, integers
shortest.
"""

from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any, Final, NamedTuple, cast

import cbor2
from cbor2 import CBORDecodeError
from msgspec import UNSET, Struct, UnsetType, to_builtins

from less_sync.sync.protocol.cbor import integer, text
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
from less_sync.sync.protocol.items import CONTAINER_ITEMS, FRAME_ITEMS_MAX, count_items
from less_sync.sync.protocol.messages import AuthParams, Message, decode_params
from less_sync.sync.protocol.pushes import LARGE_BYTES, read_push
from less_sync.sync.protocol.scanner import (
    BYTE_STRING_TAG,
    DEPTH_MAX,
    ODD_FRAME_ITEMS_MAX,
    scan_frame,
)

REQUEST, RESPONSE, NOTIFICATION, CHUNK = 0, 1, 2, 3
"""Values of `type`. Any other integer is ignored on receipt."""

KEEPALIVE: Final = b"\xf6"
"""The whole message, one byte: CBOR null."""

FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
"""Clients drop larger frames (docs/protocol.md 3.3)."""

REQUEST_ID_BYTES_MAX: Final = 256
AUTH_ITEMS_MAX: Final = 1000
"""CBOR items looked at before anybody has authenticated; an auth frame counts for twelve."""
AUTH_ITEMS_USUAL: Final = 24
"""Items of a first message that no scanner needs to hold back: so many are made in no time."""


class FrameBounds(NamedTuple):
    """What a frame may have; one with more closes the connection.

    Items count as `items.count_items` counts them. `odd_items` is for frames with tags, with keys that are
    neither text nor bytes, or with a key that stands twice in a map: only the scanner reads those, and takes
    longer.
    """

    request_id_bytes: int = REQUEST_ID_BYTES_MAX
    depth: int = DEPTH_MAX
    items: int = FRAME_ITEMS_MAX
    odd_items: int = ODD_FRAME_ITEMS_MAX


DEFAULT_BOUNDS: Final = FrameBounds()

SERVER_BOUNDS: Final = FrameBounds(items=2 * FRAME_ITEMS_MAX)
"""What clients take from a server: a record has a field more in a listing than in the push that wrote it, and
servers of other makers bound their frames in bytes alone."""


class Request(Message, frozen=True):
    """A call to be answered under `id`; `params` as decoded, None when the key was missing.

    Those of a large `push` may be `PushParams` already.
    """

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


class _Tags(dict[int, Callable[[Any, bool], Any]]):
    """A decoder for each tag there is: one that refuses, so that no tag is ever given a meaning.

    But for tag 64 directly around a byte string, which is that byte string (docs/protocol.md 3.5).
    """

    def __init__(self) -> None:
        super().__init__({BYTE_STRING_TAG: self._byte_string})
        self.last = 0
        """Identity of the byte string that lost its tag last, 0 at the start of a frame: if that is what
        another tag has around it, the tags were two."""

    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag

    def _byte_string(self, value: object, immutable: bool) -> object:
        if type(value) is not bytes or id(value) == self.last:
            raise CBORDecodeError("tagged")
        self.last = id(value)
        return value


def _refuse_tag(value: object, immutable: bool) -> object:
    raise CBORDecodeError("tagged")


_TAGS: Final = _Tags()


def _read(data: bytes, bounds: FrameBounds) -> dict[object, object] | dict[str, object]:
    """The map that a frame is.

    Raises:
        MalformedCbor: it is none, or beyond the bounds.
    """
    items = 0
    if len(data) * CONTAINER_ITEMS > bounds.items:  # an item has a byte at least: shorter ones are within
        items = count_items(data, bounds.items)
        if items > bounds.items:
            raise MalformedCbor
    try:
        frame = _strictly(data, bounds.depth)
    except CBORDecodeError:
        if items > bounds.odd_items:
            raise MalformedCbor from None
        return scan_frame(data, depth_max=bounds.depth, items_max=bounds.odd_items)
    if type(frame) is not dict:
        raise MalformedCbor
    return frame


def _strictly(data: bytes, depth_max: int) -> Any:
    """As cbor2 reads it; raises CBORDecodeError for what only the scanner knows how to read."""
    _TAGS.last = 0
    return cbor2.loads(
        data,
        semantic_decoders=_TAGS,
        max_depth=depth_max,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )


def _read_headers(data: bytes, bounds: FrameBounds) -> tuple[int, str, str, Mapping[Any, object]]:
    """Read one frame as docs/protocol.md 3.4 says.

    Returns:
        What stands in it under `type`, `id` and `method`, "" for an id or method missing; and its map.

    Raises:
        RemoteProtocolError: it is none.
    """
    if not data:
        raise RemoteProtocolError(EMPTY_FRAME)
    try:
        fields: Mapping[Any, object] = _read(data, bounds)
    except MalformedCbor:
        raise RemoteProtocolError(INVALID_FRAME) from None
    kind = fields.get("type")
    request_id = fields.get("id", "")
    method = fields.get("method", "")
    if (
        type(kind) is not int
        or not -(1 << 31) <= kind < 1 << 31
        or type(request_id) is not str
        or type(method) is not str
    ):
        raise RemoteProtocolError(INVALID_FRAME)
    for key in fields:
        if type(key) is not str:
            raise RemoteProtocolError(INVALID_FRAME)
    return kind, request_id, method, fields


def _bounded(request_id: str, bytes_max: int) -> str:
    """The id of a request, which is echoed in every chunk of the answer: bounded, against amplification.

    Raises:
        RemoteProtocolError: it is too long.
    """
    if len(request_id) * 4 > bytes_max and len(request_id.encode()) > bytes_max:
        raise RemoteProtocolError(REQUEST_ID_TOO_LONG)
    return request_id


def decode_frame(data: bytes, bounds: FrameBounds = DEFAULT_BOUNDS) -> Request | Notification | None:
    """Decode one binary message of a client after the handshake, by docs/protocol.md 3.4.

    Returns None for one to be ignored.

    Raises:
        RemoteProtocolError: `empty binary frame`, `invalid cbor frame` or `request id too long`.
    """
    if data == KEEPALIVE:
        return None
    if len(data) > LARGE_BYTES:
        push = read_push(data, items_max=bounds.items, depth_max=bounds.depth)
        if push is not None:
            return Request(_bounded(push[0], bounds.request_id_bytes), "push", push[1])
    kind, request_id, method, fields = _read_headers(data, bounds)
    if kind == REQUEST:
        return Request(_bounded(request_id, bounds.request_id_bytes), method, fields.get("params"))
    if kind == NOTIFICATION:
        return Notification(method, fields.get("params"))
    return None


def _usual_auth(data: bytes, depth_max: int) -> dict[str, object] | None:
    """A first message as clients write it, at a fifth of the price; None: the scanner has to look.

    Few items, no tag, and texts in `params` alone: of such a map both read the same.
    """
    if count_items(data, AUTH_ITEMS_USUAL) > AUTH_ITEMS_USUAL:
        return None
    try:
        frame = _strictly(data, depth_max)
    except CBORDecodeError:
        return None
    params = frame.get("params") if type(frame) is dict else None
    if type(params) is dict and all(type(text) is str for text in chain(frame, params, params.values())):
        return cast(dict[str, object], frame)
    return None


def decode_auth(data: bytes, *, depth_max: int = DEPTH_MAX) -> AuthParams:
    """Return the token of the first message, and what came beside it (docs/protocol.md 2.2).

    Its caller is a stranger, so the items looked at are few whatever the size.

    Raises:
        RemoteProtocolError: close 4000 with the reason of docs/protocol.md 11.
    """
    if not data:
        raise RemoteProtocolError(EMPTY_AUTH)
    try:
        frame = _usual_auth(data, depth_max)
        if frame is None:
            frame = scan_frame(data, depth_max=depth_max, items_max=AUTH_ITEMS_MAX)
        shown = decode_params(AuthParams, frame.get("params"))
    except (MalformedCbor, ParamsError):
        raise RemoteProtocolError(INVALID_AUTH) from None
    kind = frame.get("type")
    method = frame.get("method")
    if type(kind) is not int or not -(1 << 31) <= kind < 1 << 31 or type(method) is not str:
        raise RemoteProtocolError(INVALID_AUTH)
    if kind != NOTIFICATION or method != "auth":
        raise RemoteProtocolError(FIRST_FRAME_NOT_AUTH)
    if not shown.token:
        raise RemoteProtocolError(EMPTY_TOKEN)
    return shown


def decode_server_frame(
    data: bytes, bounds: FrameBounds = SERVER_BOUNDS
) -> Response | Chunk | Notification | None:
    """Decode one binary message of a server (docs/protocol.md 3.1).

    Returns None for a keepalive, a request or an unknown type.

    Raises:
        RemoteProtocolError: no frame, a response without a readable outcome, or a chunk without a name.
    """
    if data == KEEPALIVE:
        return None
    kind, request_id, method, fields = _read_headers(data, bounds)
    if kind == NOTIFICATION:
        return Notification(method, fields.get("params"))
    if kind == CHUNK:
        name = fields.get("name")
        if type(name) is not str:
            raise RemoteProtocolError(INVALID_FRAME)
        return Chunk(request_id, name, fields.get("data"))
    if kind != RESPONSE:
        return None
    if "error" in fields:
        try:
            return Response(request_id, error=decode_params(RpcError, fields["error"]))
        except ParamsError:
            raise RemoteProtocolError(INVALID_FRAME) from None
    if "result" not in fields:
        raise RemoteProtocolError(INVALID_FRAME)
    return Response(request_id, fields["result"])


# Writing.

_RESPONSE_HEAD: Final = b"\xa3dtype\x01bid"
_CHUNK_HEAD: Final = b"\xa4dtype\x03bid"
_NOTIFICATION_HEAD: Final = b"\xa3dtype\x02fmethod"
_REQUEST_HEAD: Final = b"\xa4dtype\x00bid"
_PARAMS_KEY: Final = b"fparams"


def encode_value(value: Struct | Mapping[str, object] | bytes) -> bytes:
    """CBOR of a result, of params or of a chunk's data, without those fields that have their default.

    Bytes are CBOR already.
    """
    if isinstance(value, bytes):
        return value
    return cbor2.dumps(to_builtins(value, builtin_types=(bytes,)))


def encode_decoded(value: object) -> bytes:
    """CBOR of something that came as CBOR, none of it left out."""
    return cbor2.dumps(value)


def encode_response(request_id: str, result: Struct | Mapping[str, object]) -> bytes:
    """A response that carries a result."""
    body = result.body if type(result) is EncodedResult else encode_value(result)
    return b"%b%bfresult%b" % (_RESPONSE_HEAD, text(request_id), body)


def encode_pushed(request_id: str, cursor: int) -> bytes:
    """A response that says `PushResult(True, cursor)`: every second frame of a busy server.

    The same bytes as of `encode_response`, at a quarter of the cost.
    """
    if not cursor:
        return b"%b%bfresult\xa1bok\xf5" % (_RESPONSE_HEAD, text(request_id))
    return b"%b%bfresult\xa2bok\xf5fcursor%b" % (_RESPONSE_HEAD, text(request_id), integer(cursor))


def encode_error(request_id: str, code: str, message: str) -> bytes:
    """A response that carries an error; `code` is one of `ErrorCode`."""
    return b"%b%beerror\xa2dcode%bgmessage%b" % (_RESPONSE_HEAD, text(request_id), text(code), text(message))


def encode_chunk(request_id: str, name: str, data: Struct | Mapping[str, object]) -> bytes:
    """One chunk of the answer to the request `request_id`."""
    return b"%b%bdname%bddata%b" % (_CHUNK_HEAD, text(request_id), text(name), encode_value(data))


def encode_notification(method: str, params: Struct | Mapping[str, object] | bytes) -> bytes:
    """A notification, in either direction."""
    return b"%b%b%b%b" % (_NOTIFICATION_HEAD, text(method), _PARAMS_KEY, encode_value(params))


def encode_request(request_id: str, method: str, params: Struct | Mapping[str, object] | bytes) -> bytes:
    """A request, as clients and federating servers send it."""
    body = encode_value(params)
    return b"%b%bfmethod%b%b%b" % (_REQUEST_HEAD, text(request_id), text(method), _PARAMS_KEY, body)
