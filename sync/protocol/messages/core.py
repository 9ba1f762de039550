"""The handshake, subscriptions, records, tokens and spaces (docs/protocol.md 2.2 and 7.1 to 7.5)."""

from msgspec import field

from less_sync.sync.protocol.messages.base import I32, I64, Params, Result

# auth (docs/protocol.md 2.2)


class AuthParams(Params, frozen=True):
    """`did_proof` shows which device presents the token (docs/tokens.md 11)."""

    token: str
    did_proof: str = ""


# subscribe (docs/protocol.md 7.3)


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
    """Who is there: a pseudonym and what it announced (docs/protocol.md 8.2)."""

    peer: str
    data: bytes


class SubscribedSpace(Result, frozen=True):
    """A space now subscribed to; `id` as it was sent."""

    id: str
    cursor: I64
    key_generation: I32
    rewrap_epoch: I32 | None = None
    token: str = ""
    peers: list[PresenceEntry] = field(default_factory=list)


class SubscribeError(Result, frozen=True):
    """A space not subscribed to; `space` as it was sent, `error` an `ErrorCode`."""

    space: str
    error: str


class SubscribeResult(Result, frozen=True):
    spaces: list[SubscribedSpace]
    errors: list[SubscribeError] = field(default_factory=list)


# unsubscribe (docs/protocol.md 8.3)


class UnsubscribeParams(Params, frozen=True):
    spaces: list[str]


# push (docs/protocol.md 7.4)


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


# pull (docs/protocol.md 7.5)


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


# token.refresh (docs/protocol.md 7.1)


class TokenRefreshParams(Params, frozen=True):
    """`did_proof` belongs to the new token, as in `auth`."""

    token: str
    did_proof: str = ""


class TokenRefreshResult(Result, frozen=True):
    ok: bool
    error: str = ""


# session.info (docs/protocol.md 7.19)


class SessionInfoParams(Params, frozen=True):
    pass


class SessionInfo(Result, frozen=True):
    """Who the server takes this connection for. All fields are always written.

    `space` is the personal space or empty, `mailbox` where invitations are read, `did` whom UCANs must have
    been given to or empty, `scopes` those of `sync` and `files` that are granted, `expires_at` the token's
    `exp` in Unix seconds, 0 without one.
    """

    space: str
    mailbox: str
    did: str
    scopes: list[str]
    expires_at: I64


# space.create (docs/protocol.md 7.2)


class SpaceCreateParams(Params, frozen=True):
    """`home_server` names the space's home when it is another server."""

    id: str
    root_public_key: bytes
    home_server: str = ""


class SpaceCreateResult(Result, frozen=True):
    """`home_server` is echoed, so that a client sees whether it was understood."""

    id: str
    key_generation: I32
    home_server: str = ""
