"""What a peer may do on behalf of a user: the user's UCAN decides, and the peer vouches for who that is.

So the chain is held against the DID that it was given to itself. All else is as for clients: root key,
permission, expiry, revocations (docs/federation.md 6.1).
"""

from typing import Final

from less_sync.auth import Identity, Permission, UcanChain
from less_sync.sync.access.grants import Access, Decision, Denial, Refused, Seen, Unread
from less_sync.sync.access.rules import SpaceList, SpaceRequest
from less_sync.sync.call import Call
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.services import Services


class PeerAccess(Access):
    """One request's wish to use one shared space whose home is here.

    Args:
        personal_as: what a personal space is answered with, which no peer may use.
    """

    __slots__ = ("_is_foreign", "_personal_as", "_shown", "local_only")

    def __init__(
        self,
        services: Services,
        peer: Identity,
        *,
        text: str,
        ucan: str,
        needed: Permission,
        personal_as: ErrorCode,
    ) -> None:
        super().__init__(
            services.authority,
            services.spaces,
            peer,
            services.now,
            text=text,
            ucan=ucan,
            needed=needed,
        )
        self._shown = bool(ucan)
        self._is_foreign = services.forwarder.is_foreign
        self._personal_as = personal_as
        self.local_only = True
        """A statement is to refuse a space that has a home; False once that was read to be this server."""

    @property
    def personal(self) -> bool:
        """Never: a peer has no space of its own."""
        return False

    def decide(self, seen: Seen | None = None) -> Decision:
        """Say whether the peer may, in the order of docs/federation.md 6.1.

        Without `seen` a grant is good for a statement that looks up revocations and home itself.
        """
        if self.space is None:
            return Refused(ErrorCode.BAD_REQUEST, "invalid space id")
        if not self._shown:
            return Refused(ErrorCode.FORBIDDEN, denial=Denial.NOTHING_SHOWN)
        if seen is None:
            root_key = self._authority.root_keys.get(self.space)
            return Unread.SPACE if root_key is None else self._held_against(root_key, frozenset())
        row = seen.row
        if row is None:
            return Refused(ErrorCode.NOT_FOUND, denial=Denial.NO_SPACE)
        if self._is_foreign(row.home_server):
            return Refused(ErrorCode.FORBIDDEN)
        if row.root_public_key is None:
            return Refused(self._personal_as, denial=Denial.NO_SPACE)
        self.local_only = row.home_server is None
        self._authority.learn(row)
        revoked = frozenset(cid for space, cid in seen.revoked if space == self.space)
        return self._held_against(row.root_public_key, revoked)

    def _audience(self, chain: UcanChain) -> str | None:
        """Whoever the token names: the peer has found out that this is who asks."""
        return chain.leaf.audience


# The rules, named as the table of peers shows them.


def user_may_write(call: Call, params: SpaceRequest) -> PeerAccess:
    """Whoever the UCAN lets write to `params.space`."""
    return PeerAccess(
        call.services,
        call.identity,
        text=params.space,
        ucan=params.ucan,
        needed=Permission.WRITE,
        personal_as=ErrorCode.FORBIDDEN,
    )


def user_may_read_each(call: Call, params: SpaceList) -> list[Access]:
    """For each entry of `params.spaces`, whoever its UCAN lets read it."""
    return [
        PeerAccess(
            call.services,
            call.identity,
            text=entry.id,
            ucan=entry.ucan,
            needed=Permission.READ,
            personal_as=ErrorCode.NOT_FOUND,
        )
        for entry in params.spaces
    ]


def trusted_peer(call: Call, params: object) -> None:
    """Any peer: who it is was found out when it connected."""


USER_MAY_WRITE: Final = user_may_write
USER_MAY_READ_EACH: Final = user_may_read_each
TRUSTED_PEER: Final = trusted_peer
