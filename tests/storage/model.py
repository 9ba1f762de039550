"""What storage keeps, in memory and one operation at a time: what the database is held against.

Values are frozen, so a copy is a copy of a few dictionaries.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from less_sync.storage import Caller, DekKind, MemberEntry, PullRow, Space

ADMITTED, NO_SPACE, REVOKED, REMOTE_HOME, NOT_PERSONAL = 0, 2, 5, 6, 7


@dataclass(frozen=True, slots=True)
class RecordState:
    space: UUID
    blob: bytes | None
    dek: bytes | None
    cursor: int

    @property
    def deleted(self) -> bool:
        return self.blob is None


@dataclass(frozen=True, slots=True)
class FileState:
    record: UUID
    dek: bytes
    cursor: int


@dataclass(frozen=True, slots=True)
class InvitationState:
    mailbox: str
    expired: bool = False


@dataclass(slots=True)
class Model:
    """All tables. `keys` holds time and id that the database gave each invitation, by payload."""

    keys: dict[bytes, tuple[datetime, UUID]]
    spaces: dict[UUID, Space] = field(default_factory=dict)
    records: dict[UUID, RecordState] = field(default_factory=dict)
    files: dict[tuple[UUID, UUID], FileState] = field(default_factory=dict)
    members: dict[UUID, tuple[MemberEntry, ...]] = field(default_factory=dict)
    revoked: frozenset[tuple[UUID, str]] = frozenset()
    invitations: dict[bytes, InvitationState] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Model":
        return Model(
            self.keys,
            dict(self.spaces),
            dict(self.records),
            dict(self.files),
            dict(self.members),
            self.revoked,
            dict(self.invitations),
            dict(self.slots),
        )

    def tables(self) -> list[object]:
        """In the form in which `operations.read_tables` reads the database."""
        return [
            set(self.spaces.values()),
            {(id, *_columns(r)) for id, r in self.records.items()},
            {(space, id, f.record, f.dek, f.cursor) for (space, id), f in self.files.items()},
            {(space, entry) for space, log in self.members.items() for entry in log},
            set(self.revoked),
            {(payload, i.mailbox, i.expired) for payload, i in self.invitations.items()},
            {(actor, used) for actor, used in self.slots.items() if used},
        ]

    def create(self, id: UUID, client: str, root_key: bytes | None) -> Space:
        self.spaces[id] = Space(id, client, root_key, 1, 1, 0, 0, None, None)
        return self.spaces[id]

    def update(self, space: Space) -> None:
        self.spaces[space.id] = space

    def admit(self, id: UUID, caller: Caller) -> tuple[int, Space | None]:
        """Decide as `lsync_lock_space_v1` does, in its order; creates the space for its owner."""
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
        return ADMITTED, space

    def bump(self, space: Space) -> int:
        """Take the space's next cursor."""
        self.update(replace(space, cursor=space.cursor + 1))
        return space.cursor + 1

    def pulled(self, space: UUID, since: int) -> list[PullRow]:
        rows: list[PullRow] = [
            (1, r.cursor, id, r.blob, r.dek, None, None, None, r.deleted)
            for id, r in sorted(self.records.items())
            if r.space == space and r.cursor > since and (since != 0 or not r.deleted)
        ]
        rows += [
            (2, m.cursor, None, m.payload, m.entry_hash, m.prev_hash, None, m.chain_seq, False)
            for m in self.members.get(space, ())
            if m.cursor > since
        ]
        rows += [
            (3, f.cursor, id, None, f.dek, None, f.record, 1, False)
            for (where, id), f in self.files.items()
            if where == space and f.cursor > since
        ]
        return sorted(rows, key=lambda row: row[1])  # stable, and only records of one push share a cursor

    def deks(self, kind: DekKind, space: UUID) -> dict[UUID, tuple[bytes | None, int]]:
        """DEK and cursor of each record or file."""
        if kind is DekKind.FILES:
            return {id: (f.dek, f.cursor) for (where, id), f in self.files.items() if where == space}
        return {id: (r.dek, r.cursor) for id, r in self.records.items() if r.space == space}

    def set_dek(self, kind: DekKind, space: UUID, id: UUID, dek: bytes) -> None:
        if kind is DekKind.FILES:
            self.files[space, id] = replace(self.files[space, id], dek=dek)
        else:
            self.records[id] = replace(self.records[id], dek=dek)

    def mailbox(self, mailbox: str) -> Sequence[bytes]:
        """Payloads of the unexpired invitations of a mailbox in their order."""
        found = [p for p, i in self.invitations.items() if i.mailbox == mailbox and not i.expired]
        return sorted(found, key=lambda payload: self.keys[payload])


def _columns(record: RecordState) -> tuple[UUID, bytes | None, bytes | None, int, bool]:
    return record.space, record.blob, record.dek, record.cursor, record.deleted
