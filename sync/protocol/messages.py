"""Params and results of the methods: the only file that knows the names of wire fields (protocol 9 to 11).

Field order is wire order. A field with a default is optional: in params its key may be missing, null or
undefined; in a result it is left out when it has that value. Unknown keys are ignored (protocol 4.2).
"""

from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

from cbor2 import undefined
from msgspec import Meta, Struct, ValidationError, convert, field
from msgspec.structs import fields

from sync.protocol.errors import ParamsError

I32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
I64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]

P = TypeVar("P", bound=Struct)


class Message(Struct, frozen=True):
    """Anything received or sent. Its repr is its type alone: fields hold tokens, UCANs and payloads."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"


class Params(Message, frozen=True, omit_defaults=True):
    """What a client sends with a method."""


class Result(Message, frozen=True, omit_defaults=True):
    """What the server answers or announces."""


# Decoding.


def decode_params(kind: type[P], params: object) -> P:
    """Turn decoded CBOR into `kind`; also for results, on the client's side.

    Booleans and floats are no integers, text and arrays are no bytes, arrays are no maps, and a known map
    with a key that is no text is refused (protocol 4.2, step B).

    Raises:
        ParamsError: a required field is missing, or a field has another type or is out of range.
    """
    try:
        # Without `builtin_types` text in a bytes field would be taken for base64.
        return convert(params, kind, builtin_types=(bytes,))
    except ValidationError:
        pass
    try:
        return convert(_without_absent(params, kind), kind, builtin_types=(bytes,))
    except ValidationError:
        raise ParamsError from None


def _without_absent(value: object, kind: type[Struct]) -> object:
    """`value` without those optional keys of `kind`, at every level, that are null or undefined."""
    if type(value) is not dict:
        return value
    optional, lists = _shape(kind)
    kept = {k: v for k, v in value.items() if k not in optional or (v is not None and v is not undefined)}
    for name, element in lists.items():
        items = kept.get(name)
        if type(items) is list:
            kept[name] = [_without_absent(item, element) for item in items]
    return kept


@cache
def _shape(kind: type[Struct]) -> tuple[frozenset[str], dict[str, type[Struct]]]:
    """The optional keys of `kind`, and those that hold lists of maps with the type of these maps."""
    optional: set[str] = set()
    lists: dict[str, type[Struct]] = {}
    for one in fields(kind):
        if not one.required:
            optional.add(one.encode_name)
        element: Any = get_args(one.type)[0] if get_origin(one.type) is list else None
        if isinstance(element, type) and issubclass(element, Struct):
            lists[one.encode_name] = element
    return frozenset(optional), lists


# auth (protocol 3.1)


class AuthParams(Params, frozen=True):
    token: str


# subscribe (protocol 9.1)


class SubscribeSpace(Params, frozen=True):
    """One space to hear of. `token` is for peers alone."""

    id: str
    since: I64
    ucan: str = ""
    token: str = ""
    presence: bool = False


class SubscribeParams(Params, frozen=True):
    spaces: list[SubscribeSpace]


class PresenceEntry(Result, frozen=True):
    """Who is there: a pseudonym and what it announced (protocol 12.2)."""

    peer: str
    data: bytes


class SubscribedSpace(Result, frozen=True):
    """A space now subscribed to; `id` as it was sent."""

    id: str
    cursor: I64
    key_generation: I32
    rewrap_epoch: I32 | None = None
    token: str = ""
    peers: list[PresenceEntry] = []


class SubscribeError(Result, frozen=True):
    """A space not subscribed to; `space` as it was sent, `error` an `ErrorCode`."""

    space: str
    error: str


class SubscribeResult(Result, frozen=True):
    spaces: list[SubscribedSpace]
    errors: list[SubscribeError] = []


# unsubscribe (protocol 10)


class UnsubscribeParams(Params, frozen=True):
    spaces: list[str]


# push (protocol 9.2)


class PushChange(Params, frozen=True, kw_only=True):
    """One record to write: no blob is a deletion, an empty blob a live record; `id` is not checked yet."""

    id: str
    blob: bytes | None = None
    expected_cursor: I64
    dek: bytes | None = None


class PushParams(Params, frozen=True, kw_only=True):
    space: str
    ucan: str = ""
    changes: list[PushChange]


class PushResult(Result, frozen=True):
    """Also what a refused push answers: `ok` False and `error` an `ErrorCode`."""

    ok: bool
    cursor: I64 = 0
    error: str = ""


# pull (protocol 9.3)


class PullSpace(Params, frozen=True):
    id: str
    since: I64
    ucan: str = ""


class PullParams(Params, frozen=True):
    spaces: list[PullSpace]


class PullBegin(Result, frozen=True):
    """Chunk `pull.begin`: `prev` is the request's `since`, the rest is the space in the snapshot."""

    space: str
    prev: I64
    cursor: I64
    key_generation: I32
    rewrap_epoch: I32 | None = None


class PullCommit(Result, frozen=True):
    """Chunk `pull.commit`: `count` entries came since the begin."""

    space: str
    prev: I64
    cursor: I64
    count: I32


class PullRecord(Result, frozen=True, kw_only=True):
    """Chunk `pull.record`; without a blob, or marked `deleted`, it is a tombstone."""

    space: str
    id: str
    blob: bytes | None = None
    cursor: I64
    dek: bytes | None = None
    deleted: bool = False


class MemberEntry(Result, frozen=True, kw_only=True):
    """One link of the membership log; the first has no `prev_hash`."""

    chain_seq: I32
    prev_hash: bytes = b""
    entry_hash: bytes
    payload: bytes


class PullMembership(Result, frozen=True):
    """Chunk `pull.membership`: exactly one entry."""

    space: str
    cursor: I64
    entries: list[MemberEntry]


class PullFile(Result, frozen=True, kw_only=True):
    """Chunk `pull.file`: `dek` is always written, `size` unless it is 0."""

    space: str
    id: str
    record_id: str
    size: I64 = 0
    dek: bytes
    cursor: I64
    deleted: bool = False


class ChunkedResult(Result, frozen=True):
    """Result of a method that answers in chunks: how many were sent in all."""

    chunks: I32 = field(name="_chunks")


# token.refresh (protocol 9.4)


class TokenRefreshParams(Params, frozen=True):
    token: str


class TokenRefreshResult(Result, frozen=True):
    ok: bool
    error: str = ""


# space.create (protocol 9.5)


class SpaceCreateParams(Params, frozen=True):
    id: str
    root_public_key: bytes


class SpaceCreateResult(Result, frozen=True):
    id: str
    key_generation: I32


# membership.revoke (protocol 9.8)


class MembershipRevokeParams(Params, frozen=True):
    space: str
    ucan_cid: str
    ucan: str = ""


class Empty(Result, frozen=True):
    """A result without fields: `{}`."""


# Notifications of the server (protocol 11)


class SyncRecord(Result, frozen=True, kw_only=True):
    """One record of an announced push; without a blob, or marked `deleted`, it is a tombstone."""

    id: str
    blob: bytes | None = None
    cursor: I64
    dek: bytes | None = None
    deleted: bool = False


class SyncNotice(Result, frozen=True, kw_only=True):
    """`sync` (11.1): a push moved the space from `prev` to `cursor`; if they are equal: pull (gap G16)."""

    space: str
    prev: I64
    cursor: I64
    key_generation: I32
    rewrap_epoch: I32 | None = None
    records: list[SyncRecord]


class FileChange(Result, frozen=True):
    """One file of a `file` notification."""

    id: str
    record_id: str
    size: I64 = 0
    dek: bytes | None = None
    deleted: bool = False


class FileNotice(Result, frozen=True):
    """`file` (protocol 11.3): files came or went."""

    space: str
    cursor: I64
    files: list[FileChange]


class RevokedNotice(Result, frozen=True):
    """`revoked` (protocol 11.4); `reason` is `ucan_revoked`."""

    space: str
    reason: str


class ResubscribeNotice(Result, frozen=True):
    """`resubscribe` (protocol 15 and gap G8): these subscriptions ended and need authorization anew."""

    spaces: list[str]
