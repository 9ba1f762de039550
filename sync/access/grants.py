"""What one request may do to one space: the only meeting of tokens and stored keys (docs/protocol.md 5).

Personal space: the token says so, and nothing is asked of the database. Shared space: the chain of the UCAN
is held against the space's root key, which never changes and is remembered, and against the revocations,
which are read each time.

`Access.decide` is the one door. It is a function of the request and of what was read about the space so far,
and says: granted, refused, or the space must be read first. A grant is in the terms of a storage statement,
which decides again what may have changed meanwhile (revocations, the home of a space), under the lock of the
space's row.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple
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
from less_sync.storage import Caller, Space, SpaceStore
from less_sync.sync.access.authority import Authority
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode

CHAINS_PER_TURN: Final = 4
"""Chains verified before other sessions get their turn; a cold one of eight links takes 1 to 3 ms."""

_READS_MAX: Final = 2
"""How often one decision reads the space: once, and once more if it turned out to be a shared one."""


@dataclass(slots=True)  # not frozen: one is made for each request, at a third of the cost
class Grant:
    """What a caller may do to one space. Exactly one of `client_id` and `chain` is set."""

    space: UUID
    client_id: str | None = field(default=None, repr=False)
    """On the personal path: under whose name the space is created when it is missing."""
    chain: UcanChain | None = None
    """On the shared path: valid but for revocations, which the statement looks up by `cids`."""

    @property
    def caller(self) -> Caller:
        """What a statement that changes the space checks under its lock.

        That its home is here, too; but for a personal space, which has no other.
        """
        return Caller(client=self.client_id, cids=self.cids, local_only=self.chain is not None)

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


class Denial(Enum):
    """What was missing. Over the WebSocket all of them are `forbidden`; HTTP tells them apart."""

    NO_SPACE = auto()
    """There is no such space, or it is somebody else's personal one, which looks the same."""
    NOTHING_SHOWN = auto()
    """No UCAN came along, or the caller's token names no DID that one could be for."""
    NOT_GRANTED = auto()
    """The UCAN does not grant it: another's, too weak, expired, revoked, or unreadable."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No, and how the client is told."""

    code: ErrorCode
    message: str = ""
    denial: Denial = Denial.NOT_GRANTED


class Unread(Enum):
    """The third answer: it cannot be said before the space was read."""

    SPACE = auto()


Decision = Grant | Refused | Unread


class Seen(NamedTuple):
    """What was read about a space."""

    row: Space | None
    revoked: Collection[tuple[UUID, str]]
    """Those that are revoked of the (space, CID) pairs that were asked about."""
    asked: Collection[tuple[UUID, str]]
    """Those pairs, revoked or not."""


class Access:
    """One request's wish to use one space.

    Args:
        now: Unix seconds.
        text: the space as the request spells it.
        ucan: the token brought along, "" for none.
    """

    __slots__ = ("_authority", "_chain", "_identity", "_needed", "_now", "_spaces", "space", "text", "ucan")

    def __init__(
        self,
        authority: Authority,
        spaces: SpaceStore,
        identity: Identity,
        now: Callable[[], float],
        *,
        text: str,
        ucan: str,
        needed: Permission,
    ) -> None:
        self._authority = authority
        self._spaces = spaces
        self._identity = identity
        self._now = now
        self.ucan = ucan
        self._needed = needed
        self._chain: UcanChain | Unread | None = Unread.SPACE
        self.text = text
        self.space = parse_uuid(text)
        """None for an id that is no UUID."""

    def check_id(self) -> UUID:
        """The space.

        Raises:
            RpcError: `bad_request`, `invalid space id`.
        """
        if self.space is None:
            raise RpcError(ErrorCode.BAD_REQUEST, "invalid space id")
        return self.space

    @property
    def wish(self) -> tuple[object, ...]:
        """Equal for requests of one caller for the same, with the same token."""
        return self.check_id().int, self.ucan, self._identity.did, self._needed

    @property
    def personal(self) -> bool:
        """Whether the caller's token names this space as its own, as far as is known.

        A row with a root key is never a personal space, whatever a token claims, or else one person could
        take another's space by creating it first: once the key is known, the rules of shared spaces hold.
        """
        if self.space is None or self.space != self._identity.personal_space:
            return False
        return self._authority.root_keys.get(self.space) is None

    @property
    def cids(self) -> tuple[str, ...]:
        """Whose revocation in this space decides: to be looked up together with the space."""
        if self.space is None or self.personal:
            return ()
        chain = self._verified_chain()
        return () if chain is None else chain.cids

    @property
    def pairs(self) -> list[tuple[UUID, str]]:
        """`cids`, each with the space, as a query over many spaces takes them."""
        return [] if self.space is None else [(self.space, cid) for cid in self.cids]

    def _verified_chain(self) -> UcanChain | None:
        """The caller's UCAN with its proofs, signatures verified once; None when there is none to be used.

        It is verified before the database is asked, so that one query serves. A bad one is refused only after
        the answer, lest a fault of ours look like a refusal.
        """
        if isinstance(self._chain, Unread):
            self._chain = self._parse()
        return self._chain

    def _parse(self) -> UcanChain | None:
        if not self.ucan or not self._identity.did:
            return None
        try:
            return parse_chain(self.ucan, parse=self._authority.ucans.parse)
        except InvalidUcan:
            return None

    def decide(self, seen: Seen | None = None) -> Decision:
        """Say whether the caller may.

        Without `seen` a grant is good for a statement that looks up revocations itself. Whoever brings a UCAN
        for the space that the token calls personal may be right: the space is then looked at first.
        """
        if self.space is None:
            return Refused(ErrorCode.BAD_REQUEST, "invalid space id")
        if seen is not None and seen.row is not None:
            self._authority.learn(seen.row)
        root_key = self._authority.root_keys.get(self.space)
        if root_key is None and self.space == self._identity.personal_space:
            if seen is None and self.ucan:
                return Unread.SPACE
            return Grant(self.space, client_id=self._identity.client_id)
        if seen is None:
            return Unread.SPACE if root_key is None else self._held_against(root_key, frozenset())
        if root_key is None or seen.row is None:
            return Refused(ErrorCode.FORBIDDEN, denial=Denial.NO_SPACE)
        if not all(pair in seen.asked for pair in self.pairs):
            return Unread.SPACE  # it was taken for a personal space when it was read
        return self._held_against(
            root_key, frozenset(cid for space, cid in seen.revoked if space == self.space)
        )

    def _held_against(self, root_key: bytes, revoked: frozenset[str]) -> Decision:
        space, chain = self.check_id(), self._verified_chain()
        if chain is None:
            shown = bool(self.ucan and self._identity.did)
            return Refused(ErrorCode.FORBIDDEN, denial=Denial.NOT_GRANTED if shown else Denial.NOTHING_SHOWN)
        audience = self._audience(chain)
        if audience is None:
            return Refused(ErrorCode.FORBIDDEN)
        try:
            check_chain(
                chain,
                audience=audience,
                needed=self._needed,
                space_id=space,
                root_public_key=root_key,
                revoked=revoked,
                now=self._now(),
            )
        except UcanError:
            return Refused(ErrorCode.FORBIDDEN)
        return Grant(space, chain=chain)

    def _audience(self, chain: UcanChain) -> str | None:
        """Whom the token must have been given to; None refuses it."""
        return self._identity.did

    async def grant(self, seen: Seen | None = None) -> Grant:
        """The grant of `decide`, reading the space as often as that takes: twice at most.

        Raises:
            RpcError: `bad_request` or `forbidden`.
            StorageError: the database could not be asked. Never told as `forbidden`.
        """
        decision = self.decide(seen)
        for _ in range(_READS_MAX):
            if not isinstance(decision, Unread):
                break
            space, pairs = self.check_id(), self.pairs
            read = await self._spaces.read_spaces([space], pairs)
            decision = self.decide(Seen(read.spaces.get(space), read.revoked, pairs))
        if isinstance(decision, Grant):
            return decision
        refused = decision if isinstance(decision, Refused) else Refused(ErrorCode.INTERNAL)
        raise RpcError(refused.code, refused.message or None)


class Readable(NamedTuple):
    """A space that may be read."""

    grant: Grant
    row: Space | None
    """None for a personal space that is not there yet."""


async def read_each(spaces: SpaceStore, accesses: Sequence[Access]) -> list[Readable | ErrorCode]:
    """Decide about every space of a request, in the order given, with one query.

    Raises:
        StorageError: the database could not be asked.
    """
    known = [access for access in accesses if access.space is not None]
    pairs: list[tuple[UUID, str]] = []
    for index, access in enumerate(known):
        pairs += access.pairs
        if (index + 1) % CHAINS_PER_TURN == 0:
            await asyncio.sleep(0)
    read = await spaces.read_spaces([access.check_id() for access in known], pairs)
    asked = frozenset(pairs)
    readable: list[Readable | ErrorCode] = []
    for access in accesses:
        row = None if access.space is None else read.spaces.get(access.space)
        try:
            readable.append(Readable(await access.grant(Seen(row, read.revoked, asked)), row))
        except RpcError as refused:
            readable.append(refused.code)
    return readable


SCOPES: Final = ("sync", "files")
"""What a token can grant here (docs/tokens.md 2.2)."""


def has_scope(identity: Identity, scope: str) -> bool:
    """True when the token grants exactly this scope."""
    return scope in granted_scopes(identity.scope)
