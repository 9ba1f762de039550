"""Calls of the client about sharing: members, invitations, epochs, DEKs, presence.

docs/protocol.md 7.6 to 7.18 and 8 say what each does.

`SyncClient` has them all. In each, `ucan` is what lets the caller into a shared space, and a refusal of the
server is a `RequestFailed`.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

from msgspec import Struct

from less_sync.sync.client.errors import NO_CLOSE_FRAME, ConnectionLost, NotThisProtocol
from less_sync.sync.client.link import Link
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Chunk
from less_sync.sync.protocol.messages import (
    EPOCH_CONFLICT,
    DeksGetParams,
    DeksRewrapParams,
    DeksRewrapResult,
    Empty,
    EpochBeginParams,
    EpochBegun,
    EpochCompleteParams,
    EpochConflict,
    EventSendParams,
    FileDek,
    Invitation,
    InvitationCreateParams,
    InvitationDeleteParams,
    InvitationGetParams,
    InvitationListParams,
    InvitationListResult,
    MembershipAppendParams,
    MembershipAppendResult,
    MembershipListParams,
    MembershipListResult,
    MembershipRevokeParams,
    PresenceClearParams,
    PresenceSetParams,
    RecordDek,
    Result,
    RewrappedDek,
    decode_params,
)

DEKS_PER_REWRAP: Final = 10_000
"""About 1 MiB a frame."""

R = TypeVar("R", bound=Struct)
D = TypeVar("D", RecordDek, FileDek)


class _EpochAnswer(Result, frozen=True, kw_only=True):
    """Both results of `epoch.begin` (docs/protocol.md 7.13)."""

    epoch: int = 0
    error: str = ""
    current_epoch: int = 0
    rewrap_epoch: int | None = None


class SharingCalls(ABC):
    """See the module."""

    def __init__(self) -> None:
        self._listed_over: dict[tuple[str, str], Link] = {}
        """The connection over which keys of records or files were listed last, for each space."""

    @abstractmethod
    async def _call(self, method: str, params: Struct, kind: type[R], *, timeout_s: float | None = None) -> R:
        """Send a request and return its result."""

    @abstractmethod
    async def _link_for(self, method: str) -> Link:
        """The present connection, or the next one if it comes in time."""

    async def membership_append(
        self,
        space: str,
        *,
        expected_version: int,
        prev_hash: bytes,
        entry_hash: bytes,
        payload: bytes,
        ucan: str = "",
    ) -> MembershipAppendResult:
        """Append one entry to the log (docs/protocol.md 7.6); `conflict` when somebody else was faster."""
        params = MembershipAppendParams(
            space=space,
            ucan=ucan,
            expected_version=expected_version,
            prev_hash=prev_hash,
            entry_hash=entry_hash,
            payload=payload,
        )
        return await self._call("membership.append", params, MembershipAppendResult)

    async def membership_list(
        self, space: str, *, since_seq: int = 0, ucan: str = ""
    ) -> MembershipListResult:
        """The entries of the log above `since_seq` (docs/protocol.md 7.7)."""
        return await self._call(
            "membership.list", MembershipListParams(space, ucan, since_seq), MembershipListResult
        )

    async def membership_revoke(self, space: str, ucan_cid: str, *, ucan: str = "") -> None:
        """Make a UCAN, and all that was delegated from it, worthless in the space (docs/protocol.md 7.8)."""
        await self._call("membership.revoke", MembershipRevokeParams(space, ucan_cid, ucan), Empty)

    async def invitation_create(self, mailbox_id: str, payload: str, *, server: str = "") -> Invitation:
        """Leave a message in a mailbox (docs/protocol.md 7.9).

        Args:
            server: the domain by which this server trusts that of the mailbox; empty: this one. The result
                then has the id `forwarded` and no times.
        """
        return await self._call(
            "invitation.create", InvitationCreateParams(mailbox_id, payload, server), Invitation
        )

    async def invitation_list(self, *, limit: int = 0, after: str = "") -> list[Invitation]:
        """One page of the caller's mailbox (docs/protocol.md 7.10)."""
        result = await self._call("invitation.list", InvitationListParams(limit, after), InvitationListResult)
        return result.invitations

    async def invitation_get(self, invitation_id: str) -> Invitation:
        """One invitation of the caller's mailbox (docs/protocol.md 7.11)."""
        return await self._call("invitation.get", InvitationGetParams(invitation_id), Invitation)

    async def invitation_delete(self, invitation_id: str) -> None:
        """Remove one invitation from the caller's mailbox (docs/protocol.md 7.12)."""
        await self._call("invitation.delete", InvitationDeleteParams(invitation_id), Empty)

    async def epoch_begin(
        self, space: str, epoch: int, *, set_min_key_generation: bool = False, ucan: str = ""
    ) -> EpochBegun | EpochConflict:
        """Enter the next epoch (docs/protocol.md 7.13).

        A conflict is a value: another epoch is current, or pending.
        """
        params = EpochBeginParams(
            space=space, ucan=ucan, epoch=epoch, set_min_key_generation=set_min_key_generation
        )
        answer = await self._call("epoch.begin", params, _EpochAnswer)
        if answer.error:
            return EpochConflict(EPOCH_CONFLICT, answer.current_epoch, answer.rewrap_epoch)
        return EpochBegun(answer.epoch)

    async def epoch_complete(self, space: str, epoch: int, *, ucan: str = "") -> None:
        """Say that every DEK is rewrapped (docs/protocol.md 7.14); `conflict` if the epoch is not pending."""
        await self._call("epoch.complete", EpochCompleteParams(space=space, ucan=ucan, epoch=epoch), Empty)

    async def deks(self, space: str, *, since: int = 0, ucan: str = "") -> AsyncGenerator[RecordDek, None]:
        """Yield the wrapped DEKs of records by cursor (docs/protocol.md 7.15)."""
        params = DeksGetParams(space, ucan, since)
        async with aclosing(self._dek_chunks("deks", params, "deks.record", RecordDek)) as deks:
            async for dek in deks:
                yield dek

    async def file_deks(self, space: str, *, since: int = 0, ucan: str = "") -> AsyncGenerator[FileDek, None]:
        """Yield the wrapped DEKs of files by cursor (docs/protocol.md 7.17)."""
        params = DeksGetParams(space, ucan, since)
        async with aclosing(self._dek_chunks("file.deks", params, "deks.files.record", FileDek)) as deks:
            async for dek in deks:
                yield dek

    async def deks_rewrap(self, space: str, deks: Sequence[RewrappedDek], *, ucan: str = "") -> int:
        """Replace wrapped DEKs of records, all or none (docs/protocol.md 7.16); return how many were sent.

        Raises:
            ConnectionLost: also if they were listed over another connection. List them again.
        """
        return await self._rewrap("deks", DeksRewrapParams(space=space, ucan=ucan, deks=list(deks)))

    async def file_deks_rewrap(self, space: str, deks: Sequence[RewrappedDek], *, ucan: str = "") -> int:
        """Replace wrapped DEKs of files, all or none (docs/protocol.md 7.18); return how many were sent.

        Raises: as `deks_rewrap`.
        """
        return await self._rewrap("file.deks", DeksRewrapParams(space=space, ucan=ucan, deks=list(deks)))

    async def presence_set(self, space: str, data: bytes) -> None:
        """Be there, with `data` to show (docs/protocol.md 8.4); again within a minute to stay."""
        await (await self._link_for("presence.set")).notify("presence.set", PresenceSetParams(space, data))

    async def presence_clear(self, space: str) -> None:
        """Be there no more (docs/protocol.md 8.5)."""
        await (await self._link_for("presence.clear")).notify("presence.clear", PresenceClearParams(space))

    async def event_send(self, space: str, data: bytes) -> None:
        """Send one message to whoever listens now (docs/protocol.md 8.6). Nobody tells whether it arrived."""
        await (await self._link_for("event.send")).notify("event.send", EventSendParams(space, data))

    async def _dek_chunks(
        self, family: str, params: DeksGetParams, name: str, kind: type[D]
    ) -> AsyncGenerator[D, None]:
        method = f"{family}.get"
        link = self._listed_over[family, params.space] = await self._link_for(method)
        async with aclosing(link.stream(method, params)) as chunks:
            async for chunk in chunks:
                yield _dek(chunk, name, kind)

    async def _rewrap(self, family: str, params: DeksRewrapParams) -> int:
        method = f"{family}.rewrap"
        link = await self._link_for(method)
        # Only over the listing's own connection does the server protect what was written since: over another,
        # the key of a newer content would be replaced by that of the former (docs/protocol.md 7.16).
        if self._listed_over.get((family, params.space), link) is not link:
            raise ConnectionLost(NO_CLOSE_FRAME, "keys were listed over a connection that is gone")
        return (await self._call(method, params, DeksRewrapResult)).count


def _dek(chunk: Chunk, name: str, kind: type[D]) -> D:
    if chunk.name != name:
        raise NotThisProtocol(f"a chunk {chunk.name} among wrapped DEKs")
    try:
        return decode_params(kind, chunk.data)
    except ParamsError:
        raise NotThisProtocol(f"a chunk {chunk.name} of another shape") from None
