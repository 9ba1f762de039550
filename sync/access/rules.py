"""The rules that the method table names: who may call what.

A rule makes an `Access` of the request and decides nothing by itself: the handler asks it for a grant at the
point where the order of its checks wants that.
"""

from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

from less_sync.auth import Permission, parse_uuid
from less_sync.sync.access.grants import Access
from less_sync.sync.call import Call


class SpaceRequest(Protocol):
    """Params that name one space and may bring a UCAN for it."""

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


# The rules, named as the method table shows them.


def _access(call: Call, text: str, ucan: str, needed: Permission) -> Access:
    services = call.services
    return Access(
        services.authority, services.spaces, call.identity, services.now, text=text, ucan=ucan, needed=needed
    )


def signed_in(call: Call, params: object) -> None:
    """Anybody with a valid token."""


def space_read(call: Call, params: SpaceRequest) -> Access:
    """Whoever may read `params.space`."""
    return _access(call, params.space, params.ucan, Permission.READ)


def space_write(call: Call, params: SpaceRequest) -> Access:
    """Whoever may write to `params.space`."""
    return _access(call, params.space, params.ucan, Permission.WRITE)


def space_admin(call: Call, params: SpaceRequest) -> Access:
    """Whoever administers `params.space`; a setting may ask for less on shared spaces.

    See docs/protocol.md 5.2.
    """
    return _access(call, params.space, params.ucan, call.services.authority.admin_operations)


def each_space_read(call: Call, params: SpaceList) -> list[Access]:
    """For each entry of `params.spaces`, whoever may read it."""
    return [_access(call, entry.id, entry.ucan, Permission.READ) for entry in params.spaces]


class SpaceNamed(Protocol):
    """Params that name one space and nothing to authorise by."""

    @property
    def space(self) -> str: ...


class SpaceNames(Protocol):
    """Params that name spaces and nothing to authorise by."""

    @property
    def spaces(self) -> Sequence[str]: ...


def subscribed(call: Call, params: SpaceNamed) -> UUID | None:
    """Whoever is subscribed to `params.space`: what that took is not asked again (docs/protocol.md 8)."""
    space = parse_uuid(params.space)
    if space is None or not call.services.broker.is_subscribed(call.outbound, space):
        return None
    return space


def subscribed_within_rate(call: Call, params: SpaceNamed) -> UUID | None:
    """As `subscribed`, as often as a connection may (docs/protocol.md 8.1)."""
    return subscribed(call, params) if call.caller.may_send() else None


def anybody(call: Call, params: SpaceNames) -> list[UUID]:
    """Anybody, for what concerns nobody else."""
    ids = (parse_uuid(text) for text in params.spaces)
    return [space for space in ids if space is not None]


SIGNED_IN: Final = signed_in
SPACE_READ: Final = space_read
SPACE_WRITE: Final = space_write
SPACE_ADMIN: Final = space_admin
EACH_SPACE_READ: Final = each_space_read
SUBSCRIBED: Final = subscribed
SUBSCRIBED_WITHIN_RATE: Final = subscribed_within_rate
ANYBODY: Final = anybody
