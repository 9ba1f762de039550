"""Storage operations for the model test: each says what it does to the database and what to the model.

Both return the outcome in the same plain form. Those that no store offers (a file added, a space that moves,
an invitation that expires) are done beside the stores, as another server on the same database would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol
from uuid import UUID

from less_sync.storage import (
    Caller,
    DekKind,
    MemberEntry,
    PostgresDekStore,
    PostgresEpochStore,
    PostgresInvitationStore,
    PostgresMemberStore,
    PostgresPool,
    PostgresPullStore,
    PostgresRateLimitStore,
    PostgresRevocationStore,
    PostgresSpaceStore,
    Push,
    PushLanes,
    PushStatus,
    RateSlot,
    RewrapStatus,
    Space,
    SpaceExists,
)
from tests.storage.model import ADMITTED, FileState, InvitationState, Model, RecordState
from tests.storage.support import as_tuple, rows, write

ROOT_KEY: Final = b"\x02" + bytes(32)
SLOTS: Final = 2


class Server:
    """All stores of one server process, on connections of its own. `slots` are those taken, by any server."""

    def __init__(self, pool: PostgresPool, lanes: PushLanes, model: Model, slots: list[RateSlot]) -> None:
        self.pool = pool
        self.lanes = lanes
        self.keys = model.keys
        self.slots = slots
        self.spaces = PostgresSpaceStore(pool)
        self.pulls = PostgresPullStore(pool)
        self.members = PostgresMemberStore(pool)
        self.epochs = PostgresEpochStore(pool)
        self.deks = PostgresDekStore(pool)
        self.revocations = PostgresRevocationStore(pool)
        self.invitations = PostgresInvitationStore(pool)
        self.limits = PostgresRateLimitStore(pool)


class Operation(Protocol):
    async def run(self, server: Server) -> object:
        """Do it in the database and return the outcome."""

    def apply(self, model: Model) -> object:
        """Do it in the model and return the outcome."""


@dataclass(frozen=True)
class CreateSpace:
    space: UUID
    root_key: bytes | None

    async def run(self, server: Server) -> object:
        try:
            return await server.spaces.create_space(self.space, "creator", self.root_key)
        except SpaceExists:
            return "exists"

    def apply(self, model: Model) -> object:
        if self.space in model.spaces:
            return "exists"
        return model.create(self.space, "creator", self.root_key)


@dataclass(frozen=True)
class GetOrCreateSpace:
    space: UUID
    client: str

    async def run(self, server: Server) -> object:
        return await server.spaces.get_or_create_space(self.space, self.client)

    def apply(self, model: Model) -> object:
        return model.spaces.get(self.space) or model.create(self.space, self.client, None)


@dataclass(frozen=True)
class ReadSpaces:
    spaces: Sequence[UUID]
    cids: Sequence[tuple[UUID, str]]

    async def run(self, server: Server) -> object:
        read = await server.spaces.read_spaces(self.spaces, self.cids)
        return read.spaces, read.revoked & frozenset(self.cids)

    def apply(self, model: Model) -> object:
        if not self.spaces:
            return {}, frozenset()  # asks nothing
        found = {id: model.spaces[id] for id in self.spaces if id in model.spaces}
        return found, model.revoked & frozenset(self.cids)


@dataclass(frozen=True)
class PushRecords:
    space: UUID
    changes: Sequence[tuple[UUID, int, bytes | None, bytes | None]]
    """(id, expected cursor, blob, DEK)."""
    caller: Caller

    @property
    def min_epoch(self) -> int | None:
        epochs = [int.from_bytes(dek[:4], "big") for *_, dek in self.changes if dek is not None]
        return min(epochs, default=None)

    async def run(self, server: Server) -> object:
        ids, expected, blobs, deks = zip(*self.changes, strict=True) if self.changes else ((), (), (), ())
        caller = self.caller
        outcome = await write(
            server.lanes,
            Push(
                self.space,
                ids,
                expected,
                blobs,
                deks,
                0,
                caller.client,
                caller.cids,
                self.min_epoch,
                caller.local_only,
            ),
        )
        if outcome.status is PushStatus.FOREIGN_RECORD:
            return outcome.status  # one that lost a race does not know the space's epochs
        epochs = outcome.key_generation, outcome.rewrap_epoch
        return outcome.status, outcome.cursor, epochs, set(outcome.removed_files)

    def apply(self, model: Model) -> object:
        status, space = model.admit(self.space, self.caller)
        status = status or self._check(model, space)
        if status == PushStatus.FOREIGN_RECORD:
            return status
        epochs = (space.key_generation, space.rewrap_epoch) if space else (0, None)
        if status != ADMITTED or space is None:
            return status, 0, epochs, set()
        if not self.changes:
            return status, space.cursor, epochs, set()
        cursor = model.bump(space)
        gone = {id for id, _, blob, _ in self.changes if blob is None}
        removed = {(key, f.record) for key, f in model.files.items() if f.record in gone}
        for id, _, blob, dek in self.changes:
            model.records[id] = RecordState(self.space, blob, dek, cursor)
        for key, _ in removed:
            del model.files[key]
        return status, cursor, epochs, {(id, record) for (_, id), record in removed}

    def _check(self, model: Model, space: Space | None) -> int:
        if space is None or not self.changes:
            return ADMITTED
        lowest = space.min_key_generation
        stale = self.min_epoch is not None and self.min_epoch < lowest
        if space.root_public_key is not None and lowest > 1 and stale:
            return PushStatus.STALE_EPOCH
        foreign = False
        for id, expected, _, _ in self.changes:
            record = model.records.get(id)
            mine = record is not None and record.space == self.space
            if expected != (record.cursor if record is not None and mine else 0):
                return PushStatus.CONFLICT
            foreign = foreign or (record is not None and not mine)
        return PushStatus.FOREIGN_RECORD if foreign else ADMITTED


@dataclass(frozen=True)
class MoveHome:
    """A space that exists moves to another server, or back."""

    space: UUID
    home: str | None

    async def run(self, server: Server) -> object:
        await rows(server.pool).set_space(self.space, home_server=self.home)
        return None

    def apply(self, model: Model) -> object:
        if self.space in model.spaces:
            model.update(replace(model.spaces[self.space], home_server=self.home))
        return None


@dataclass(frozen=True)
class AddFile:
    """As an upload does: under the space's row, to a live record of this space, once."""

    space: UUID
    file: UUID
    record: UUID
    dek: bytes

    async def run(self, server: Server) -> object:
        return await rows(server.pool).upload(self.space, self.file, self.record, self.dek)

    def apply(self, model: Model) -> object:
        record = model.records.get(self.record)
        if record is None or record.space != self.space or record.deleted:
            return None
        if (self.space, self.file) in model.files:
            return None
        cursor = model.bump(model.spaces[self.space])
        model.files[self.space, self.file] = FileState(self.record, self.dek, cursor)
        return cursor


@dataclass(frozen=True)
class Pull:
    space: UUID
    since: int

    async def run(self, server: Server) -> object:
        async with server.pulls.pull(self.space, self.since) as pull:
            if pull is None:
                return None
            rows = [as_tuple(row) async for batch in pull.batches() for row in batch]
            meta = pull.meta
            return (meta.cursor, meta.key_generation, meta.rewrap_epoch, meta.shared, meta.restarted), rows

    def apply(self, model: Model) -> object:
        space = model.spaces.get(self.space)
        if space is None:
            return None
        restarted = self.since > space.cursor
        shared = space.root_public_key is not None
        rows = model.pulled(self.space, 0 if restarted else self.since)
        return (space.cursor, space.key_generation, space.rewrap_epoch, shared, restarted), rows


@dataclass(frozen=True)
class Append:
    space: UUID
    version: int
    prev: bytes | None
    hash: bytes
    caller: Caller

    async def run(self, server: Server) -> object:
        outcome = await server.members.append(
            self.space,
            expected_version=self.version,
            prev_hash=self.prev,
            entry_hash=self.hash,
            payload=self.hash,
            caller=self.caller,
        )
        return outcome.status, outcome.chain_seq, outcome.cursor, outcome.metadata_version

    def apply(self, model: Model) -> object:
        status, space = model.admit(self.space, self.caller)
        if space is None:
            return status, 0, 0, 0
        log = model.members.get(self.space, ())
        if status == ADMITTED and self.version != space.metadata_version:
            status = 1
        if status == ADMITTED and (self.prev or None) != (log[-1].entry_hash if log else None):
            status = 3
        if status != ADMITTED:
            return status, 0, 0, space.metadata_version
        cursor, seq = model.bump(space), len(log) + 1
        model.update(replace(model.spaces[self.space], metadata_version=seq))
        model.members[self.space] = (*log, MemberEntry(seq, cursor, self.prev or None, self.hash, self.hash))
        return status, seq, cursor, seq


@dataclass(frozen=True)
class ListMembers:
    space: UUID
    since: int
    cids: Sequence[str]

    async def run(self, server: Server) -> object:
        log = await server.members.list(self.space, self.since, cids=self.cids)
        return None if log is None else (log.space, log.revoked, tuple(log.entries))

    def apply(self, model: Model) -> object:
        if self.space not in model.spaces:
            return None
        revoked = model.revoked & {(self.space, cid) for cid in self.cids}
        return model.spaces[self.space], revoked, model.members.get(self.space, ())[self.since :]


@dataclass(frozen=True)
class Advance:
    space: UUID
    epoch: int
    set_min: bool
    caller: Caller

    async def run(self, server: Server) -> object:
        outcome = await server.epochs.advance(
            self.space, self.epoch, set_min=self.set_min, caller=self.caller
        )
        return outcome.status, outcome.current_epoch, outcome.rewrap_epoch

    def apply(self, model: Model) -> object:
        status, space = model.admit(self.space, self.caller)
        if space is None:
            return status, 0, None
        possible = self.epoch == space.key_generation + 1 and space.rewrap_epoch is None
        if status != ADMITTED or not possible:
            return status or 1, space.key_generation, space.rewrap_epoch
        lowest = self.epoch if self.set_min else space.min_key_generation
        model.update(
            replace(space, key_generation=self.epoch, rewrap_epoch=self.epoch, min_key_generation=lowest)
        )
        return status, self.epoch, self.epoch


@dataclass(frozen=True)
class Complete:
    space: UUID
    epoch: int
    caller: Caller

    async def run(self, server: Server) -> object:
        return (await server.epochs.complete(self.space, self.epoch, caller=self.caller)).status

    def apply(self, model: Model) -> object:
        status, space = model.admit(self.space, self.caller)
        if space is None or status != ADMITTED:
            return status
        if space.rewrap_epoch != self.epoch:
            return 1
        model.update(replace(space, rewrap_epoch=None))
        return status


@dataclass(frozen=True)
class ListDeks:
    kind: DekKind
    space: UUID
    since: int

    async def run(self, server: Server) -> object:
        listing = await server.deks.get(self.kind, self.space, self.since)
        if listing is None:
            return None
        return listing.space, [row async for batch in listing.batches() for row in batch]

    def apply(self, model: Model) -> object:
        if self.space not in model.spaces:
            return None
        found = [
            (id, dek, cursor)
            for id, (dek, cursor) in model.deks(self.kind, self.space).items()
            if dek is not None and cursor > self.since
        ]
        return model.spaces[self.space], sorted(found, key=lambda row: (row[2], row[0]))


@dataclass(frozen=True)
class Rewrap:
    kind: DekKind
    space: UUID
    items: Sequence[tuple[UUID, bytes]]
    read_cursor: int | None
    caller: Caller

    async def run(self, server: Server) -> object:
        return await server.deks.rewrap(
            self.kind,
            self.space,
            [id for id, _ in self.items],
            [dek for _, dek in self.items],
            read_cursor=self.read_cursor,
            caller=self.caller,
        )

    def apply(self, model: Model) -> object:
        if not self.items and self.caller == Caller():
            return ADMITTED
        status, space = model.admit(self.space, self.caller)
        if space is None or status != ADMITTED:
            return status
        epoch = space.key_generation.to_bytes(4, "big")
        if self.kind is DekKind.FILES and any(dek[:4] != epoch for _, dek in self.items):
            return RewrapStatus.EPOCH_MISMATCH
        rows = model.deks(self.kind, self.space)
        for id, dek in self.items:
            if dek[:4] != epoch:
                return RewrapStatus.EPOCH_MISMATCH
            if id not in rows:
                return RewrapStatus.NOT_FOUND
            if (
                self.read_cursor is not None
                and rows[id][1] > self.read_cursor
                and not _at(rows[id][0], epoch)
            ):
                return RewrapStatus.CHANGED
        for id, dek in self.items:
            if self.read_cursor is None or not _at(rows[id][0], epoch):
                model.set_dek(self.kind, self.space, id, dek)
        return RewrapStatus.REWRAPPED


def _at(dek: bytes | None, epoch: bytes) -> bool:
    return dek is not None and dek[:4] == epoch


@dataclass(frozen=True)
class Revoke:
    space: UUID
    cid: str
    caller: Caller

    async def run(self, server: Server) -> object:
        return await server.revocations.revoke(self.space, self.cid, caller=self.caller)

    def apply(self, model: Model) -> object:
        status, space = model.admit(self.space, self.caller)
        if space is not None and status == ADMITTED:
            model.revoked |= {(self.space, self.cid)}
        return status


@dataclass(frozen=True)
class CreateInvitation:
    mailbox: str
    payload: bytes

    async def run(self, server: Server) -> object:
        made = await server.invitations.create(self.mailbox, self.payload)
        server.keys[self.payload] = made.created_at, made.id
        return made.payload

    def apply(self, model: Model) -> object:
        model.invitations[self.payload] = InvitationState(self.mailbox)
        return self.payload


@dataclass(frozen=True)
class ListInvitations:
    mailbox: str
    limit: int
    after: bytes | None

    async def run(self, server: Server) -> object:
        after = None if self.after is None else server.keys[self.after][1]
        found = await server.invitations.list(self.mailbox, limit=self.limit, after=after)
        return [invitation.payload for invitation in found]

    def apply(self, model: Model) -> object:
        found = model.mailbox(self.mailbox)
        if self.after is not None:
            start = model.invitations.get(self.after)
            if start is None or start.mailbox != self.mailbox:
                return []
            found = [payload for payload in found if model.keys[payload] > model.keys[self.after]]
        return list(found[: self.limit])


@dataclass(frozen=True)
class GetInvitation:
    mailbox: str
    payload: bytes

    async def run(self, server: Server) -> object:
        found = await server.invitations.get(server.keys[self.payload][1], self.mailbox)
        return None if found is None else found.payload

    def apply(self, model: Model) -> object:
        return self.payload if self.payload in model.mailbox(self.mailbox) else None


@dataclass(frozen=True)
class DeleteInvitation:
    mailbox: str
    payload: bytes

    async def run(self, server: Server) -> object:
        return await server.invitations.delete(server.keys[self.payload][1], self.mailbox)

    def apply(self, model: Model) -> object:
        found = model.invitations.get(self.payload)
        if found is None or found.mailbox != self.mailbox:
            return False
        del model.invitations[self.payload]
        return True


@dataclass(frozen=True)
class ExpireInvitation:
    payload: bytes

    async def run(self, server: Server) -> object:
        await rows(server.pool).expire_invitation(server.keys[self.payload][1])
        return None

    def apply(self, model: Model) -> object:
        found = model.invitations.get(self.payload)
        if found is not None:
            model.invitations[self.payload] = replace(found, expired=True)
        return None


@dataclass(frozen=True)
class PurgeInvitations:
    async def run(self, server: Server) -> object:
        return await server.invitations.purge()

    def apply(self, model: Model) -> object:
        expired = [payload for payload, found in model.invitations.items() if found.expired]
        for payload in expired:
            del model.invitations[payload]
        return len(expired)


@dataclass(frozen=True)
class TakeSlot:
    actor: str

    async def run(self, server: Server) -> object:
        slot = await server.limits.take("invitation", self.actor, window_s=3600, slots_max=SLOTS)
        if slot is not None:
            server.slots.append(slot)
        return slot is not None

    def apply(self, model: Model) -> object:
        used = model.slots.get(self.actor, 0)
        if used == SLOTS:
            return False
        model.slots[self.actor] = used + 1
        return True


@dataclass(frozen=True)
class UndoSlot:
    slot: RateSlot

    async def run(self, server: Server) -> object:
        await server.limits.undo(self.slot)
        return None

    def apply(self, model: Model) -> object:
        model.slots[self.slot.actor_hash] -= 1
        return None


async def read_tables(pool: PostgresPool, spaces: Sequence[UUID]) -> list[object]:
    """All that is kept of these spaces and beside spaces, in the form of `Model.tables`."""
    found = rows(pool)
    return [
        set(await found.spaces(spaces)),
        set(await found.records(spaces)),
        set(await found.files(spaces)),
        set(await found.members(spaces)),
        set(await found.revocations(spaces)),
        set(await found.invitations()),
        set((await found.slots()).items()),
    ]
