"""What the database keeps, and what its functions do to it, one at a time: a model of the SQL.

Each method is one function of the migrations, under the lock of the space's row that whoever calls it has
seen to. What was committed stands in `journal`, which is what announcements are held against.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Final
from uuid import UUID

from tests.simulation.system import Caller, MemberEntry, Space

NO_SPACE, REVOKED, REMOTE_HOME, NOT_PERSONAL = 2, 5, 6, 7
INVITATION_LIFE: Final = timedelta(hours=168)

PushRow = tuple[int, int, int | None, int | None, list[UUID] | None, list[UUID] | None]
Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class RecordRow:
    space: UUID
    blob: bytes | None
    dek: bytes | None
    cursor: int


@dataclass(frozen=True, slots=True)
class FileRow:
    record: UUID
    dek: bytes
    cursor: int
    size: int = 1
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class InvitationRow:
    id: UUID
    mailbox: str
    payload: bytes
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RateRow:
    action: str
    actor: str
    created_at: datetime


class Kind(Enum):
    """What a commit was."""

    PUSH = auto()
    APPEND = auto()
    REVOKE = auto()
    FILE = auto()
    ELSEWHERE = auto()  # by another server


@dataclass(frozen=True, slots=True)
class Commit:
    """One thing that is committed. `mark` is what its author put into it, to be known by."""

    kind: Kind
    space: UUID
    cursor: int
    mark: bytes
    at_s: float


@dataclass(slots=True)
class Tables:
    """All rows. `now` is the database's clock in Unix seconds, `clock` the loop's."""

    now: Callable[[], float]
    clock: Callable[[], float]
    chance: random.Random
    spaces: dict[UUID, Space] = field(default_factory=dict)
    records: dict[UUID, RecordRow] = field(default_factory=dict)
    files: dict[tuple[UUID, UUID], FileRow] = field(default_factory=dict)
    members: dict[UUID, tuple[MemberEntry, ...]] = field(default_factory=dict)
    revoked: dict[tuple[UUID, str], None] = field(default_factory=dict)
    invitations: dict[UUID, InvitationRow] = field(default_factory=dict)
    rates: dict[tuple[int, int], RateRow] = field(default_factory=dict)
    journal: list[Commit] = field(default_factory=list)
    died: set[UUID] = field(default_factory=set)
    """Records that were a tombstone once."""
    uploaded: dict[tuple[UUID, UUID], list[bytes]] = field(default_factory=dict)
    """By space and file, the marks of all uploads that were ever recorded."""
    file_changed: Callable[[UUID, UUID], None] = lambda space, file: None
    """Told of every row of a file that was written or deleted."""
    on_invited: Callable[[str], None] = lambda mailbox: None
    """Told of the mailbox of every invitation that was stored."""
    rates_made: int = 0
    slots: dict[str, int] = field(default_factory=dict)
    """By action, how many were taken and not given back; that their time passes does not matter."""
    invitations_made: int = 0

    def snapshot(self) -> "Tables":
        """The rows as they are now; values are frozen, so copies of the dictionaries do."""
        return replace(
            self,
            spaces=dict(self.spaces),
            records=dict(self.records),
            files=dict(self.files),
            members=dict(self.members),
            revoked=dict(self.revoked),
            invitations=dict(self.invitations),
            rates=dict(self.rates),
            journal=[],
        )

    def time(self) -> datetime:
        """The database's clock, in microseconds."""
        return datetime.fromtimestamp(round(self.now() * 1_000_000) / 1_000_000, UTC)

    # Spaces.

    def create(self, id: UUID, client: str, root_key: bytes | None, home: str | None = None) -> Space:
        space = self.spaces[id] = Space(id, client, root_key, 1, 1, 0, 0, None, home)
        return space

    def create_space(self, id: UUID, client: str, root_key: bytes | None, home: str | None) -> list[Row]:
        return [] if id in self.spaces else [space_row(self.create(id, client, root_key, home))]

    def get_or_create(self, id: UUID, client: str | None) -> list[Row]:
        space = self.spaces.get(id)
        if space is None and client is None:
            return [(None,) * 9]
        return [space_row(space or self.create(id, client or "", None))]

    def _admit(self, id: UUID, caller: Caller) -> tuple[int, Space | None]:
        """`lsync_lock_space_v1`."""
        space = self.spaces.get(id)
        if space is None and caller.client is None:
            return NO_SPACE, None
        space = space or self.create(id, caller.client or "", None)
        if caller.client is not None and space.root_public_key is not None:
            return NOT_PERSONAL, space
        if any((id, cid) in self.revoked for cid in caller.cids or ()):
            return REVOKED, space
        if caller.local_only and space.home_server is not None:
            return REMOTE_HOME, space
        return 0, space

    def _commit(self, kind: Kind, space: UUID, cursor: int, mark: bytes) -> None:
        self.journal.append(Commit(kind, space, cursor, mark, self.clock()))

    # Records.

    def push(
        self,
        id: UUID,
        ids: Sequence[UUID],
        expected: Sequence[int],
        blobs: Sequence[bytes | None],
        deks: Sequence[bytes | None],
        caller: Caller,
        min_epoch: int | None,
    ) -> PushRow:
        """`lsync_push_v1`."""
        status, space = self._admit(id, caller)
        if space is None:
            return status, 0, None, None, None, None
        epochs = space.key_generation, space.rewrap_epoch
        if status:
            return status, 0, *epochs, None, None
        if not ids:
            return 0, space.cursor, *epochs, None, None
        lowest = space.min_key_generation
        shared = space.root_public_key is not None
        if shared and lowest > 1 and min_epoch is not None and min_epoch < lowest:
            return 4, 0, *epochs, None, None
        refusal = self._push_refusal(id, ids, expected)
        if refusal:
            return refusal, 0, *epochs, None, None
        cursor = space.cursor + 1
        self.spaces[id] = replace(space, cursor=cursor)
        for key, blob, dek in zip(ids, blobs, deks, strict=True):
            self.records[key] = RecordRow(id, blob, dek, cursor)
            if blob is None:
                self.died.add(key)
        gone = {key for key, blob in zip(ids, blobs, strict=True) if blob is None}
        removed = [(file, f.record) for (at, file), f in self.files.items() if at == id and f.record in gone]
        for file, _ in removed:
            del self.files[id, file]
            self.file_changed(id, file)
        self._commit(Kind.PUSH, id, cursor, mark_of(deks[0]))
        if not removed:
            return 0, cursor, *epochs, None, None
        return 0, cursor, *epochs, [file for file, _ in removed], [record for _, record in removed]

    def _push_refusal(self, space: UUID, keys: Sequence[UUID], expected: Sequence[int]) -> int:
        foreign = False
        for key, cursor in zip(keys, expected, strict=True):
            record = self.records.get(key)
            mine = record is not None and record.space == space
            if cursor != (record.cursor if record is not None and mine else 0) or (mine and cursor == 0):
                return 1
            foreign = foreign or (record is not None and not mine)
        return 3 if foreign else 0

    def add_file(self, space: UUID, file: UUID, record: UUID, dek: bytes) -> int | None:
        """What an upload does, by another server: under the space's row, to a live record, once."""
        row = self.records.get(record)
        if row is None or row.space != space or row.blob is None or (space, file) in self.files:
            return None
        cursor = self.spaces[space].cursor + 1
        self.spaces[space] = replace(self.spaces[space], cursor=cursor)
        self.files[space, file] = FileRow(record, dek, cursor)
        self._commit(Kind.ELSEWHERE, space, cursor, b"")
        return cursor

    def record_file(
        self, id: UUID, file: UUID, record: UUID, size: int, dek: bytes, overwrite: bool, caller: Caller
    ) -> tuple[Row, Callable[[], None]]:
        """`lsync_record_file_v1`: status, cursor, replaced; and what its commit does."""
        status, space = self._admit(id, caller)
        there = (id, file) in self.files
        row = self.records.get(record)
        if status or space is None:
            return (status, 0, False), _nothing
        if row is None or row.space != id or row.blob is None:
            return (4, 0, False), _nothing
        if there and not overwrite:
            return (1, 0, True), _nothing
        cursor = space.cursor + 1

        def commit() -> None:
            self.spaces[id] = replace(self.spaces[id], cursor=cursor)
            self.files[id, file] = FileRow(record, dek, cursor, size)
            self.uploaded.setdefault((id, file), []).append(mark_of(dek))
            self._commit(Kind.FILE, id, cursor, mark_of(dek))
            self.file_changed(id, file)

        return (0, cursor, there), commit

    def forget_file(self, space: UUID, file: UUID, cursor: int) -> tuple[list[Row], Callable[[], None]]:
        """Delete the row of a file if it is that of this cursor."""
        row = self.files.get((space, file))
        if row is None or row.cursor != cursor:
            return [], _nothing

        def commit() -> None:
            self.files.pop((space, file), None)

        return [(file,)], commit

    def bump_elsewhere(self, space: UUID) -> None:
        """Another server writes something that no client of this one hears of."""
        row = self.spaces.get(space)
        if row is not None:
            self.spaces[space] = replace(row, cursor=row.cursor + 1)
            self._commit(Kind.ELSEWHERE, space, row.cursor + 1, b"")

    # The membership log and revocations.

    def append(
        self, id: UUID, expected: int, prev: bytes | None, hash: bytes, payload: bytes, caller: Caller
    ) -> Row:
        """`lsync_append_member_v1`: status, chain_seq, cursor, version."""
        status, space = self._admit(id, caller)
        if space is None:
            return status, 0, 0, 0
        log = self.members.get(id, ())
        if status == 0 and expected != space.metadata_version:
            status = 1
        if status == 0 and (prev or None) != (log[-1].entry_hash if log else None):
            status = 3
        if status:
            return status, 0, 0, space.metadata_version
        cursor, version = space.cursor + 1, space.metadata_version + 1
        seq = (log[-1].chain_seq if log else 0) + 1
        self.spaces[id] = replace(space, cursor=cursor, metadata_version=version)
        self.members[id] = (*log, MemberEntry(seq, cursor, prev or None, hash, payload))
        self._commit(Kind.APPEND, id, cursor, payload)
        return 0, seq, cursor, version

    def revoke(self, id: UUID, cid: str, caller: Caller) -> Row:
        """`lsync_revoke_v1`."""
        status, space = self._admit(id, caller)
        if status == 0 and space is not None and (id, cid) not in self.revoked:
            self.revoked[id, cid] = None
            self._commit(Kind.REVOKE, id, space.cursor, cid.encode())
        return (status,)

    # Epochs and DEKs.

    def advance(self, id: UUID, epoch: int, set_min: bool, caller: Caller) -> Row:
        """`lsync_advance_epoch_v1`: status, current, rewrap."""
        status, space = self._admit(id, caller)
        if space is None:
            return status, 0, None
        if status == 0 and (epoch - 1 != space.key_generation or space.rewrap_epoch is not None):
            status = 1
        if status:
            return status, space.key_generation, space.rewrap_epoch
        lowest = epoch if set_min else space.min_key_generation
        self.spaces[id] = replace(space, key_generation=epoch, rewrap_epoch=epoch, min_key_generation=lowest)
        return 0, epoch, epoch

    def complete(self, id: UUID, epoch: int, caller: Caller) -> Row:
        """`lsync_complete_rewrap_v1`: status, stale."""
        stale = 0
        before = self.spaces.get(id)
        if before is not None and before.rewrap_epoch == epoch:
            now = before.key_generation.to_bytes(4, "big")
            deks = [r.dek for r in self.records.values() if r.space == id and r.dek is not None]
            deks += [f.dek for (at, _), f in self.files.items() if at == id]
            stale = sum(dek[:4] != now for dek in deks)
        status, space = self._admit(id, caller)
        if space is None or status:
            return status, stale
        if space.rewrap_epoch != epoch:
            return 1, stale
        self.spaces[id] = replace(space, rewrap_epoch=None)
        return 0, stale

    def deks(self, files: bool, space: UUID) -> dict[UUID, tuple[bytes | None, int]]:
        """DEK and cursor of each file or record of a space."""
        if files:
            return {id: (f.dek, f.cursor) for (at, id), f in self.files.items() if at == space}
        return {id: (r.dek, r.cursor) for id, r in self.records.items() if r.space == space}

    def rewrap(
        self,
        id: UUID,
        files: bool,
        ids: Sequence[UUID | None],
        deks: Sequence[bytes],
        read_cursor: int | None,
        caller: Caller,
    ) -> Row:
        """`lsync_rewrap_v1`: status, first position of a wrong epoch, a missing row, a changed row."""
        status, space = self._admit(id, caller)
        if space is None or status:
            return status, None, None, None
        epoch = space.key_generation.to_bytes(4, "big")
        rows = self.deks(files, id)
        first: dict[str, int] = {}
        for position, (key, dek) in enumerate(zip(ids, deks, strict=True), 1):
            if dek[:4] != epoch:
                first.setdefault("epoch", position)
            if key is None or key not in rows:
                first.setdefault("missing", position)
            elif read_cursor is not None and rows[key][1] > read_cursor and not at(rows[key][0], epoch):
                first.setdefault("changed", position)
        if first:
            return 1, first.get("epoch"), first.get("missing"), first.get("changed")
        for key, dek in zip(ids, deks, strict=True):
            if key is not None and (read_cursor is None or not at(rows[key][0], epoch)):
                self._set_dek(files, id, key, dek)
        return 0, None, None, None

    def _set_dek(self, files: bool, space: UUID, id: UUID, dek: bytes) -> None:
        if files:
            self.files[space, id] = replace(self.files[space, id], dek=dek)
        else:
            self.records[id] = replace(self.records[id], dek=dek)

    # Invitations and rates.

    def invite(self, mailbox: str, payload: bytes) -> Row:
        now = self.time()
        self.invitations_made += 1
        id = UUID(int=self.chance.getrandbits(128), version=4)
        row = self.invitations[id] = InvitationRow(id, mailbox, payload, now, now + INVITATION_LIFE)
        self.on_invited(mailbox)
        return row.id, row.payload, row.created_at, row.expires_at

    def take_rate(self, action: str, actor: str, window_s: int, max: int) -> Row:
        """`lsync_rate_take_v1`: taken, row, time."""
        now = self.time()
        oldest = now - timedelta(seconds=window_s)
        mine = (r for r in self.rates.values() if (r.action, r.actor) == (action, actor))
        if sum(row.created_at > oldest for row in mine) >= max:
            return False, None, None
        self.rates_made += 1
        place = (0, self.rates_made)
        self.rates[place] = RateRow(action, actor, now)
        self.slots[action] = self.slots.get(action, 0) + 1
        return True, place, now

    def undo_rate(self, action: str, actor: str, place: tuple[int, int], taken_at: datetime) -> list[Row]:
        """Delete the slot that was taken so, if it is still there."""
        if self.rates.get(place) != RateRow(action, actor, taken_at):
            return []
        del self.rates[place]
        self.slots[action] -= 1
        return [(1,)]


def _nothing() -> None:
    """What the commit of a transaction does that has written nothing."""


def space_row(space: Space) -> Row:
    """The columns of a space in the order of the queries."""
    return (
        space.id,
        space.client_id,
        space.root_public_key,
        space.key_generation,
        space.min_key_generation,
        space.metadata_version,
        space.cursor,
        space.rewrap_epoch,
        space.home_server,
    )


def at(dek: bytes | None, epoch: bytes) -> bool:
    """Whether a DEK is of an epoch."""
    return dek is not None and dek[:4] == epoch


def mark_of(dek: bytes | None) -> bytes:
    """What the author of a push put into its DEKs behind their epoch."""
    return b"" if dek is None else dek[4:20]
