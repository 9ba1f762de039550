"""Who may do what: the rules named in the method table, and the only place where auth meets storage.

A rule makes an `Access` of the request and decides nothing by itself: the handler asks it for a grant at the
point where the protocol's order of checks wants that. A grant is in the terms of a storage statement, which
decides again what may have changed meanwhile (revocations, the home of a space), under the space's lock.

Personal space: the token says so, no question to the database. Shared space: the chain of the UCAN is held
against the space's root key, which never changes and is remembered, and against the revocations, which are
read each time.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from uuid import UUID

from auth import (
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
from storage import Space, SpacesRead
from sync.authority import Authority
from sync.protocol.codes import ErrorCode
from sync.rpc.call import Call, RpcError

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

    def write_now(self) -> Grant | None:
        """A grant for a statement that looks up revocations itself; None when `write` must be awaited.

        Raises:
            RpcError: `bad_request` or `forbidden`.
        """
        space = self.check_id()
        personal = self.personal_grant()
        if personal is not None:
            return personal
        root_key = self._authority.root_keys.get(space)
        if root_key is None:
            self._require_credentials()
            return None
        return self._held_against(self.chain(), root_key, NO_CIDS)

    async def write(self) -> Grant:
        """A grant as `write_now` gives; one query when the space's root key is not known.

        Raises:
            RpcError: `bad_request` or `forbidden`.
            StorageError: the database could not be asked. Never told as `forbidden`.
        """
        return self.write_now() or await self.shared()

    async def shared(self) -> Grant:
        """A grant by the rules of shared spaces, revocations looked up.

        Raises:
            RpcError: `bad_request` or `forbidden`.
            StorageError: the database could not be asked.
        """
        space = self.check_id()
        chain = self.chain()
        read = await self._call.services.spaces.read_spaces([space], [(space, cid) for cid in chain.cids])
        return self.grant_from(read, chain)

    def chain(self) -> UcanChain:
        """The caller's UCAN with its proofs, signatures verified.

        Raises:
            RpcError: `forbidden`: there is none, it cannot be read, or the caller has no DID.
        """
        self._require_credentials()
        try:
            return parse_chain(self._ucan, parse=self._authority.ucans.parse)
        except InvalidUcan:
            raise RpcError(ErrorCode.FORBIDDEN) from None

    def grant_from(self, read: SpacesRead, chain: UcanChain) -> Grant:
        """Decide by what was read about a shared space.

        Raises:
            RpcError: `forbidden`.
        """
        space = self.check_id()
        row = read.spaces.get(space)
        if row is None or row.root_public_key is None:
            raise RpcError(ErrorCode.FORBIDDEN)
        self._authority.root_keys.learn(row)
        revoked = frozenset(cid for where, cid in read.revoked if where == space)
        return self._held_against(chain, row.root_public_key, revoked)

    def _require_credentials(self) -> None:
        if not self._ucan or not self._call.identity.did:
            raise RpcError(ErrorCode.FORBIDDEN)

    def _held_against(self, chain: UcanChain, root_key: bytes, revoked: frozenset[str]) -> Grant:
        space = self.check_id()
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


class SpaceRequest(Protocol):
    """Params that name one space."""

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


SIGNED_IN: Final = signed_in
SPACE_READ: Final = space_read
SPACE_WRITE: Final = space_write
SPACE_ADMIN: Final = space_admin
EACH_SPACE_READ: Final = each_space_read


Readable = tuple[Grant, Space | None] | ErrorCode
"""A grant and the row as read, None for a personal space not there yet; or why it is refused."""


async def read_each(call: Call, accesses: Sequence[Access]) -> list[Readable]:
    """Decide about every space of a request, in the order given, with one query.

    Raises:
        StorageError: the database could not be asked.
    """
    chains = await _chains(accesses)
    ids: list[UUID] = []
    cids: list[tuple[UUID, str]] = []
    for access, chain in zip(accesses, chains, strict=True):
        if access.space is not None and not isinstance(chain, ErrorCode):
            ids.append(access.space)
            if chain is not None:
                cids += [(access.space, cid) for cid in chain.cids]
    read = await call.services.spaces.read_spaces(ids, cids)
    return [
        await _readable(call, access, chain, read) for access, chain in zip(accesses, chains, strict=True)
    ]


async def _chains(accesses: Sequence[Access]) -> list[UcanChain | ErrorCode | None]:
    """The chain of each shared space, None for a personal one, or why it is refused unasked."""
    chains: list[UcanChain | ErrorCode | None] = []
    parsed = 0
    for access in accesses:
        if access.space is None:
            chains.append(ErrorCode.BAD_REQUEST)
        elif access.personal:
            chains.append(None)
        else:
            try:
                chains.append(access.chain())
            except RpcError as refused:
                chains.append(refused.code)
            parsed += 1
            if parsed % CHAINS_PER_TURN == 0:
                await asyncio.sleep(0)
    return chains


async def _readable(
    call: Call, access: Access, chain: UcanChain | ErrorCode | None, read: SpacesRead
) -> Readable:
    if isinstance(chain, ErrorCode):
        return chain
    space = access.check_id()
    row = read.spaces.get(space)
    try:
        if chain is not None:
            return access.grant_from(read, chain), row
        if row is None or row.root_public_key is None:
            return Grant(space, client_id=call.identity.client_id), row
        return await access.shared(), row  # a token that claims a shared space: rare, so a query of its own
    except RpcError as refused:
        return refused.code


def has_scope(identity: Identity, scope: str) -> bool:
    """True when the token grants exactly this scope."""
    return scope in granted_scopes(identity.scope)
