"""Who may do what: the rules named in the method table, and the only place where auth meets storage.

A rule does not decide by itself where the database must be asked anyway: it yields what the handler's own
statement needs to decide, so that authorisation costs no round trip of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from auth import Identity, granted_scopes, parse_uuid
from sync.protocol.codes import ErrorCode
from sync.rpc.call import Call, RpcError


class SpaceRequest(Protocol):
    """Params, or an entry of them, that name one space."""

    @property
    def space(self) -> str: ...

    @property
    def ucan(self) -> str: ...


class SpaceEntry(Protocol):
    """An entry of a list of spaces to read."""

    @property
    def id(self) -> str: ...

    @property
    def ucan(self) -> str: ...


class SpaceList(Protocol):
    """Params that name many spaces."""

    @property
    def spaces(self) -> Sequence[SpaceEntry]: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do to one space, in the terms of a storage statement."""

    space: UUID
    client_id: str
    """Whose personal space it is: it is created when it is missing."""

    def opens(self, *, shared: bool) -> bool:
        """Whether the row just read is what the grant is for: a personal grant opens no shared space.

        A row with a root key is never a personal space, whatever a token claims (protocol G11).
        """
        return not shared


Refusal = ErrorCode
"""Why one of many spaces is left out."""


def SIGNED_IN(call: Call, params: object) -> None:
    """Anybody with a valid token."""


def SPACE_WRITE(call: Call, params: SpaceRequest) -> Grant:
    """Whoever may write to `params.space`.

    Raises:
        RpcError: `bad_request` for an id that is no UUID, else `forbidden`.
    """
    granted = _grant(call.identity, params.space)
    if isinstance(granted, Grant):
        return granted
    message = "invalid space id" if granted is ErrorCode.BAD_REQUEST else None
    raise RpcError(granted, message)


def EACH_SPACE_READ(call: Call, params: SpaceList) -> list[Grant | Refusal]:
    """For each entry of `params.spaces`, in order, what reading it takes, or why it is refused."""
    return [_grant(call.identity, entry.id) for entry in params.spaces]


def _grant(identity: Identity, text: str) -> Grant | Refusal:
    space = parse_uuid(text)
    if space is None:
        return ErrorCode.BAD_REQUEST
    if space == identity.personal_space:
        return Grant(space, identity.client_id)
    return ErrorCode.FORBIDDEN


def has_scope(identity: Identity, scope: str) -> bool:
    """True when the token grants exactly this scope."""
    return scope in granted_scopes(identity.scope)
