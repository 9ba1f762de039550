"""Who may do what: the rules named in the method table, and the only place where auth meets storage.

A rule makes an `Access` of the request and decides nothing by itself: the handler asks it for a grant at the
point where the protocol's order of checks wants that. A grant is in the terms of a storage statement, which
decides again what may have changed meanwhile (revocations, the home of a space), under the space's lock.

Personal space: the token says so, no question to the database. Shared space: the chain of the UCAN is held
against the space's root key, which never changes and is remembered, and against the revocations, which are
read each time.
"""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from less_sync.auth import (
    Identity,
    InvalidUcan,
    Permission,
    UcanChain,
    UcanError,
    check_chain,
    granted_scopes,
    parse_chain,
    parse_uuid,
)
from less_sync.storage import Caller, Space, SpacesRead
from less_sync.sync.access.authority import Authority
from less_sync.sync.call import Call
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode

CHAINS_PER_TURN: Final = 16
"""Chains verified before other sessions get their turn; a cold one of eight links takes a millisecond."""

NO_CIDS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a caller may do to one space. Exactly one of `client_id` and `chain` is set."""

    space: UUID
    client_id: str | None = field(default=None, repr=False)
    """On the personal path: under whose name the space is created when it is missing."""
    chain: UcanChain | None = None
    """On the shared path: valid but for revocations, which the statement looks up by `cids`."""

    @property
    def caller(self) -> Caller:
        """What a statement that changes the space checks under its lock."""
        return Caller(client=self.client_id, cids=self.cids)

    @property
    def cids(self) -> tuple[str, ...] | None:
        """What the statement must not find among the space's revocations; None on the personal path."""
        return None if self.chain is None else self.chain.cids

    @property
    def expires_at(self) -> int | None:
        """Unix seconds from which the chain grants nothing any more; None on the personal path."""
        if self.chain is None:
            return None
        return min(link.expires_at for link in self.chain.links if link.expires_at is not None)


class Access:
    """One request's wish to use one space."""

    __slots__ = ("_call", "_needed", "_ucan", "space", "text")

    def __init__(self, call: Call, text: str, ucan: str, needed: Permission) -> None:
        self._call = call
        self.text = text
        self._ucan = ucan
        self._needed = needed
        self.space = parse_uuid(text)
        """None for an id that is no UUID."""

    @property
    def _authority(self) -> Authority:
        return self._call.services.authority

    def check_id(self) -> UUID:
        """The space.

        Raises:
            RpcError: `bad_request`, `invalid space id`.
        """
        if self.space is None:
            raise RpcError(ErrorCode.BAD_REQUEST, "invalid space id")
        return self.space

    @property
    def personal(self) -> bool:
        """Whether the caller's token names this space as its own.

        A row with a root key is never a personal space, whatever a token claims (protocol G11): once that
        is known, the rules of shared spaces hold.
        """
        if self.space is None or self.space != self._call.identity.personal_space:
            return False
        return self._authority.root_keys.get(self.space) is None

    def personal_grant(self) -> Grant | None:
        """A grant for the caller's own personal space; None for any other."""
        if self.space is None or not self.personal:
            return None
        return Grant(self.space, client_id=self._call.identity.client_id)

    def unasked_grant(self) -> Grant | None:
        """`personal_grant`, where the database need not be asked first.

        Whoever brings a UCAN for the space that the token calls personal may be right: it is looked at, once
        that is known to be a shared one (protocol G11). No client sends one with a space of its own.
        """
        return None if self._ucan else self.personal_grant()

    def write_now(self) -> Grant | None:
        """A grant for a statement that looks up revocations itself; None when `write` must be awaited.

        Raises:
            RpcError: `bad_request` or `forbidden`.
        """
        space = self.check_id()
        unasked = self.unasked_grant()
        if unasked is not None:
            return unasked
        root_key = self._authority.root_keys.get(space)
        if root_key is None:
            return None
        return self._held_against(self.chain(), root_key, NO_CIDS)

    async def write(self) -> Grant:
        """A grant as `write_now` gives; one query when the space's root key is not known.

        Raises:
            RpcError: `bad_request` or `forbidden`.
            StorageError: the database could not be asked. Never told as `forbidden`.
        """
        granted = self.write_now()
        if granted is not None:
            return granted
        if not self.personal:
            return await self.shared()
        space = self.check_id()
        read = await self._call.services.spaces.read_spaces([space])
        return await self.admit(read.spaces.get(space), (), None)

    async def shared(self) -> Grant:
        """A grant by the rules of shared spaces, revocations looked up.

        Raises:
            RpcError: `bad_request` or `forbidden`.
            StorageError: the database could not be asked.
        """
        space = self.check_id()
        chain = self.chain()
        read = await self._call.services.spaces.read_spaces([space], pairs(space, chain))
        return self.grant_from(read.spaces.get(space), read.revoked, chain)

    def chain(self) -> UcanChain | None:
        """The caller's UCAN with its proofs, signatures verified; None when there is none to be used.

        Asked before the database is, so that one query serves; a refusal waits for the answer, lest a fault
        of ours look like one.
        """
        if not self._ucan or not self._call.identity.did:
            return None
        try:
            return parse_chain(self._ucan, parse=self._authority.ucans.parse)
        except InvalidUcan:
            return None

    async def admit(
        self, row: Space | None, revoked: Collection[tuple[UUID, str]], chain: UcanChain | None
    ) -> Grant:
        """Decide by what was read about the space, personal or shared.

        Args:
            chain: as `chain` gave it before the space was read; None for a personal space.

        Raises:
            RpcError: `forbidden`.
            StorageError: the database could not be asked once more, about a space claimed as personal.
        """
        personal = self.personal_grant()
        if personal is None:
            return self.grant_from(row, revoked, chain)
        if row is None or row.root_public_key is None:
            return personal
        return await self.shared()  # rare, so a query of its own

    def grant_from(
        self, row: Space | None, revoked: Collection[tuple[UUID, str]], chain: UcanChain | None
    ) -> Grant:
        """Decide by what was read about a shared space.

        Raises:
            RpcError: `forbidden`.
        """
        if row is None or row.root_public_key is None:
            raise RpcError(ErrorCode.FORBIDDEN)
        self._authority.root_keys.learn(row)
        mine = frozenset(cid for space, cid in revoked if space == row.id)
        return self._held_against(chain, row.root_public_key, mine)

    def _held_against(self, chain: UcanChain | None, root_key: bytes, revoked: frozenset[str]) -> Grant:
        space = self.check_id()
        if chain is None:
            raise RpcError(ErrorCode.FORBIDDEN)
        try:
            check_chain(
                chain,
                audience=self._call.identity.did,
                needed=self._needed,
                space_id=space,
                root_public_key=root_key,
                revoked=revoked,
                now=self._call.services.now(),
            )
        except UcanError:
            raise RpcError(ErrorCode.FORBIDDEN) from None
        return Grant(space, chain=chain)


def pairs(space: UUID, chain: UcanChain | None) -> list[tuple[UUID, str]]:
    """What to look up among revocations for one chain in one space."""
    return [] if chain is None else [(space, cid) for cid in chain.cids]


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


def signed_in(call: Call, params: object) -> None:
    """Anybody with a valid token."""


def space_read(call: Call, params: SpaceRequest) -> Access:
    """Whoever may read `params.space`."""
    return Access(call, params.space, params.ucan, Permission.READ)


def space_write(call: Call, params: SpaceRequest) -> Access:
    """Whoever may write to `params.space`."""
    return Access(call, params.space, params.ucan, Permission.WRITE)


def space_admin(call: Call, params: SpaceRequest) -> Access:
    """Whoever administers `params.space`; a setting may ask for less on shared spaces (protocol G19)."""
    return Access(call, params.space, params.ucan, call.services.authority.admin_operations)


def each_space_read(call: Call, params: SpaceList) -> list[Access]:
    """For each entry of `params.spaces`, whoever may read it."""
    return [Access(call, entry.id, entry.ucan, Permission.READ) for entry in params.spaces]


class SpaceNamed(Protocol):
    """Params that name one space and nothing to authorise by."""

    @property
    def space(self) -> str: ...


class SpaceNames(Protocol):
    """Params that name spaces and nothing to authorise by."""

    @property
    def spaces(self) -> Sequence[str]: ...


def subscribed(call: Call, params: SpaceNamed) -> UUID | None:
    """Whoever is subscribed to `params.space`: what that took is not asked again (protocol 10)."""
    space = parse_uuid(params.space)
    if space is None or not call.services.broker.is_subscribed(call.outbound, space):
        return None
    return space


def subscribed_within_rate(call: Call, params: SpaceNamed) -> UUID | None:
    """As `subscribed`, as often as a connection may (protocol G22)."""
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


Readable = tuple[Grant, Space | None] | ErrorCode
"""A grant and the row as read, None for a personal space not there yet; or why it is refused."""


async def read_each(call: Call, accesses: Sequence[Access]) -> list[Readable]:
    """Decide about every space of a request, in the order given, with one query.

    Raises:
        StorageError: the database could not be asked.
    """
    chains = await _chains(accesses)
    known = [(access, chain) for access, chain in zip(accesses, chains, strict=True) if access.space]
    ids = [access.check_id() for access, _ in known]
    cids = [pair for access, chain in known for pair in pairs(access.check_id(), chain)]
    read = await call.services.spaces.read_spaces(ids, cids)
    return [await _readable(access, chain, read) for access, chain in zip(accesses, chains, strict=True)]


async def _chains(accesses: Sequence[Access]) -> list[UcanChain | None]:
    """The chain of each shared space, None where there is none or none is needed."""
    chains: list[UcanChain | None] = []
    parsed = 0
    for access in accesses:
        if access.space is None or access.personal:
            chains.append(None)
            continue
        chains.append(access.chain())
        parsed += 1
        if parsed % CHAINS_PER_TURN == 0:
            await asyncio.sleep(0)
    return chains


async def _readable(access: Access, chain: UcanChain | None, read: SpacesRead) -> Readable:
    if access.space is None:
        return ErrorCode.BAD_REQUEST
    row = read.spaces.get(access.space)
    try:
        return await access.admit(row, read.revoked, chain), row
    except RpcError as refused:
        return refused.code


def has_scope(identity: Identity, scope: str) -> bool:
    """True when the token grants exactly this scope."""
    return scope in granted_scopes(identity.scope)
