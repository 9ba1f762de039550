"""Rows of the simulation's model of the database, in its tables."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from less_sync.storage import MemberEntry, Space
from tests.simulation.modelled_pool import ModelledPool
from tests.simulation.tables import FileRow, InvitationRow, RateRow, RecordRow
from tests.storage.rows import DEK, StoredFile, StoredRecord


class ModelRows:
    """`Rows` of a pool. Each method acts at one moment, as a statement does, and later than it is called."""

    def __init__(self, pool: ModelledPool) -> None:
        self._database = pool.database
        self._tables = pool.database.tables

    async def _turn(self) -> None:
        await self._database.travel("rows")

    def _id(self) -> UUID:
        return UUID(int=self._tables.chance.getrandbits(128), version=4)

    async def add_space(
        self,
        id: UUID,
        *,
        client: str = "client",
        root_key: bytes | None = None,
        epoch: int = 1,
        cursor: int = 0,
    ) -> None:
        await self._turn()
        assert id not in self._tables.spaces
        space = self._tables.create(id, client, root_key)
        self._tables.spaces[id] = replace(
            space, key_generation=epoch, min_key_generation=epoch, cursor=cursor
        )

    async def set_space(self, id: UUID, **columns: int | str | None) -> None:
        await self._turn()
        values: dict[str, Any] = columns
        if id in self._tables.spaces:
            self._tables.spaces[id] = replace(self._tables.spaces[id], **values)

    async def spaces(self, ids: Sequence[UUID] | None = None) -> list[Space]:
        await self._turn()
        return [space for id, space in sorted(self._tables.spaces.items()) if ids is None or id in ids]

    async def add_records(
        self, space: UUID, *, count: int, each: int, blob: bytes, first_cursor: int = 1
    ) -> None:
        await self._turn()
        for number in range(count):
            row = RecordRow(space, blob, DEK, first_cursor + number // each)
            self._tables.records[self._id()] = row

    async def records(self, spaces: Sequence[UUID] | None = None) -> list[StoredRecord]:
        await self._turn()
        found = [
            StoredRecord(id, r.space, r.blob, r.dek, r.cursor, r.blob is None)
            for id, r in self._tables.records.items()
            if spaces is None or r.space in spaces
        ]
        return sorted(found, key=lambda row: (row.cursor, row.id))

    async def add_file(
        self,
        space: UUID,
        record: UUID,
        *,
        id: UUID | None = None,
        size: int = 1,
        cursor: int,
        deleted: bool = False,
    ) -> UUID:
        await self._turn()
        id = id or self._id()
        assert (space, id) not in self._tables.files
        self._tables.files[space, id] = FileRow(record, DEK, cursor, size, deleted)
        return id

    async def add_file_of_each_record(self) -> None:
        await self._turn()
        for id, r in self._tables.records.items():
            assert r.dek is not None
            self._tables.files[r.space, id] = FileRow(id, r.dek, r.cursor)

    async def upload(self, space: UUID, id: UUID, record: UUID, dek: bytes) -> int | None:
        await self._turn()
        return self._tables.add_file(space, id, record, dek)

    async def files(self, spaces: Sequence[UUID] | None = None) -> list[StoredFile]:
        await self._turn()
        found = [
            StoredFile(space, id, f.record, f.dek, f.cursor)
            for (space, id), f in self._tables.files.items()
            if spaces is None or space in spaces
        ]
        return sorted(found, key=lambda row: (row.cursor, row.id))

    async def add_member(self, space: UUID, entry: MemberEntry) -> None:
        await self._turn()
        self._tables.members[space] = (*self._tables.members.get(space, ()), entry)

    async def members(self, spaces: Sequence[UUID] | None = None) -> list[tuple[UUID, MemberEntry]]:
        await self._turn()
        logs = sorted(self._tables.members.items())
        return [(space, entry) for space, log in logs if spaces is None or space in spaces for entry in log]

    async def revocations(self, spaces: Sequence[UUID] | None = None) -> list[tuple[UUID, str]]:
        await self._turn()
        return sorted(place for place in self._tables.revoked if spaces is None or place[0] in spaces)

    async def add_invitation(
        self, mailbox: str, *, expires_in_s: int = 3600, at: datetime | None = None
    ) -> UUID:
        await self._turn()
        id, now = self._id(), self._tables.time()
        row = InvitationRow(id, mailbox, b"p", at or now, now + timedelta(seconds=expires_in_s))
        self._tables.invitations[id] = row
        return id

    async def expire_invitation(self, id: UUID) -> None:
        await self._turn()
        row, now = self._tables.invitations.get(id), self._tables.time()
        if row is not None and row.expires_at > now:
            self._tables.invitations[id] = replace(row, expires_at=now - timedelta(seconds=1))

    async def invitations(self) -> list[tuple[bytes, str, bool]]:
        await self._turn()
        now = self._tables.time()
        return [(row.payload, row.mailbox, row.expires_at < now) for row in self._tables.invitations.values()]

    async def add_slot(self, action: str, actor: str) -> None:
        await self._turn()
        self._tables.rates_made += 1
        self._tables.rates[0, self._tables.rates_made] = RateRow(action, actor, self._tables.time())

    async def age_slots(self, seconds: int) -> None:
        await self._turn()
        for place, row in self._tables.rates.items():
            earlier = row.created_at - timedelta(seconds=seconds)
            self._tables.rates[place] = replace(row, created_at=earlier)

    async def add_old_and_live(self, *, old: int, live: int) -> None:
        for number in range(old + live):
            await self.add_invitation("a" * 64, expires_in_s=60 if number >= old else -60)
        for count, age_s in ((old, 119), (live, 1)):
            for _ in range(count):
                await self.add_slot("invitation", "a" * 64)
            await self.age_slots(age_s)

    async def slots(self) -> dict[str, int]:
        await self._turn()
        counts: dict[str, int] = {}
        for row in self._tables.rates.values():
            counts[row.actor] = counts.get(row.actor, 0) + 1
        return counts

    async def clear(self) -> None:
        await self._turn()
        self._tables.invitations.clear()
        self._tables.rates.clear()

    @asynccontextmanager
    async def locked(self, space: UUID) -> AsyncIterator[None]:
        await self._turn()
        self._database.hold(space)
        try:
            yield
        finally:
            self._database.release(space)

    async def lock_waits(self) -> int:
        await self._turn()
        return self._database.lock_waits

    async def transactions_open(self) -> int:
        await self._turn()
        return self._database.idle_in_transaction
