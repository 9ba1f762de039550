"""Rows of a real Postgres, by SQL."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg

from less_sync.storage import MemberEntry, PostgresPool, Space
from tests.storage.rows import DEK, StoredFile, StoredRecord


class SqlRows:
    """`Rows` of a pool."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def _fetch(self, text: str, *args: object) -> list[asyncpg.Record]:
        return await self._pool.run(lambda con: con.fetch(text, *args))

    async def _select(
        self, spaces: Sequence[UUID] | None, text: str, where: str, order: str
    ) -> list[asyncpg.Record]:
        """Rows of spaces, by an index, or of all."""
        if spaces is None:
            return await self._fetch(f"{text} ORDER BY {order}")
        return await self._fetch(f"{text} WHERE {where} = ANY ($1::uuid[]) ORDER BY {order}", spaces)

    async def add_space(
        self,
        id: UUID,
        *,
        client: str = "client",
        root_key: bytes | None = None,
        epoch: int = 1,
        cursor: int = 0,
    ) -> None:
        await self._fetch(
            """INSERT INTO spaces (id, client_id, root_public_key, key_generation, min_key_generation, cursor)
               VALUES ($1, $2, $3, $4, $4, $5)""",
            id,
            client,
            root_key,
            epoch,
            cursor,
        )

    async def set_space(self, id: UUID, **columns: int | str | None) -> None:
        for name, value in columns.items():
            await self._fetch(f"UPDATE spaces SET {name} = $2 WHERE id = $1", id, value)

    async def spaces(self, ids: Sequence[UUID] | None = None) -> list[Space]:
        found = await self._select(
            ids,
            """SELECT id, client_id, root_public_key, key_generation, min_key_generation, metadata_version,
                      cursor, rewrap_epoch, home_server
               FROM spaces""",
            "id",
            "id",
        )
        return [Space(*row) for row in found]

    async def add_records(
        self, space: UUID, *, count: int, each: int, blob: bytes, first_cursor: int = 1
    ) -> None:
        await self._fetch(
            """INSERT INTO records (id, space_id, blob, cursor, wrapped_dek)
               SELECT gen_random_uuid(), $1, $4, $5::bigint + i / $3::int, $6
               FROM generate_series(0, $2::int - 1) i""",
            space,
            count,
            each,
            blob,
            first_cursor,
            DEK,
        )

    async def records(self, spaces: Sequence[UUID] | None = None) -> list[StoredRecord]:
        found = await self._select(
            spaces,
            "SELECT id, space_id, blob, wrapped_dek, cursor, deleted FROM records",
            "space_id",
            "cursor, id",
        )
        return [StoredRecord(*row) for row in found]

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
        id = id or uuid4()
        await self._fetch(
            """INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor, deleted)
               VALUES ($1, $2, $3, $4, $5, $6, $7)""",
            space,
            id,
            size,
            DEK,
            record,
            cursor,
            deleted,
        )
        return id

    async def add_file_of_each_record(self) -> None:
        await self._fetch(
            """INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor)
               SELECT space_id, id, 1, wrapped_dek, id, cursor FROM records"""
        )

    async def upload(self, space: UUID, id: UUID, record: UUID, dek: bytes) -> int | None:
        async with self._pool.connection() as con, con.transaction():
            cursor: int | None = await con.fetchval(
                "SELECT cursor + 1 FROM spaces WHERE id = $1 FOR NO KEY UPDATE", space
            )
            added = await con.fetch(
                """INSERT INTO files (space_id, id, size, wrapped_dek, record_id, cursor)
                   SELECT $1, $2, 1, $3, r.id, $5::bigint FROM records r
                   WHERE r.id = $4 AND r.space_id = $1 AND NOT r.deleted
                   ON CONFLICT DO NOTHING RETURNING 1""",
                space,
                id,
                dek,
                record,
                cursor,
            )
            if added:
                await con.execute("UPDATE spaces SET cursor = $2 WHERE id = $1", space, cursor)
        return cursor if added else None

    async def files(self, spaces: Sequence[UUID] | None = None) -> list[StoredFile]:
        found = await self._select(
            spaces,
            "SELECT space_id, id, record_id, wrapped_dek, cursor FROM files",
            "space_id",
            "cursor, id",
        )
        return [StoredFile(*row) for row in found]

    async def add_member(self, space: UUID, entry: MemberEntry) -> None:
        await self._fetch(
            """INSERT INTO members (space_id, chain_seq, cursor, prev_hash, entry_hash, payload)
               VALUES ($1, $2, $3, $4, $5, $6)""",
            space,
            entry.chain_seq,
            entry.cursor,
            entry.prev_hash,
            entry.entry_hash,
            entry.payload,
        )

    async def members(self, spaces: Sequence[UUID] | None = None) -> list[tuple[UUID, MemberEntry]]:
        found = await self._select(
            spaces,
            "SELECT space_id, chain_seq, cursor, prev_hash, entry_hash, payload FROM members",
            "space_id",
            "space_id, chain_seq",
        )
        return [(space, MemberEntry(*entry)) for space, *entry in found]

    async def revocations(self, spaces: Sequence[UUID] | None = None) -> list[tuple[UUID, str]]:
        found = await self._select(
            spaces,
            "SELECT space_id, ucan_cid FROM revocations",
            "space_id",
            "1, 2",
        )
        return [(space, cid) for space, cid in found]

    async def add_invitation(
        self, mailbox: str, *, expires_in_s: int = 3600, at: datetime | None = None
    ) -> UUID:
        [row] = await self._fetch(
            """INSERT INTO invitations (mailbox_id, payload, created_at, expires_at)
               VALUES ($1, 'p', coalesce($3::timestamptz, NOW()), NOW() + make_interval(secs => $2))
               RETURNING id""",
            mailbox,
            expires_in_s,
            at,
        )
        id: UUID = row[0]
        return id

    async def expire_invitation(self, id: UUID) -> None:
        # Once: a clean-up may pass over a row that is being updated, and no server updates any.
        await self._fetch(
            """UPDATE invitations SET expires_at = NOW() - interval '1 s'
               WHERE id = $1 AND expires_at > NOW()""",
            id,
        )

    async def invitations(self) -> list[tuple[bytes, str, bool]]:
        found = await self._fetch("SELECT payload, mailbox_id, expires_at < NOW() FROM invitations")
        return [(payload, mailbox, expired) for payload, mailbox, expired in found]

    async def add_slot(self, action: str, actor: str) -> None:
        await self._fetch(
            "INSERT INTO rate_limit_actions (action, actor_hash) VALUES ($1, $2)", action, actor
        )

    async def age_slots(self, seconds: int) -> None:
        await self._fetch(
            "UPDATE rate_limit_actions SET created_at = created_at - make_interval(secs => $1)", seconds
        )

    async def add_old_and_live(self, *, old: int, live: int) -> None:
        await self._fetch(
            """INSERT INTO invitations (mailbox_id, payload, expires_at)
               SELECT repeat('a', 64), 'p', NOW() + CASE WHEN i > $1 THEN 1 ELSE -1 END * interval '1 minute'
               FROM generate_series(1, $1::int + $2::int) i""",
            old,
            live,
        )
        await self._fetch(
            """INSERT INTO rate_limit_actions (action, actor_hash, created_at)
               SELECT 'invitation', repeat('a', 64),
                      NOW() - CASE WHEN i > $1 THEN 1 ELSE 120 END * interval '1 s'
               FROM generate_series(1, $1::int + $2::int) i""",
            old,
            live,
        )

    async def slots(self) -> dict[str, int]:
        found = await self._fetch("SELECT actor_hash, count(*) FROM rate_limit_actions GROUP BY 1")
        return {row[0]: row[1] for row in found}

    async def clear(self) -> None:
        for table in ("invitations", "rate_limit_actions"):
            await self._fetch(f"DELETE FROM {table}")

    @asynccontextmanager
    async def locked(self, space: UUID) -> AsyncIterator[None]:
        async with self._pool.connection() as con, con.transaction():
            await con.fetch("SELECT cursor FROM spaces WHERE id = $1 FOR UPDATE", space)
            yield

    async def lock_waits(self) -> int:
        [row] = await self._fetch(
            """SELECT count(DISTINCT pid)::int FROM pg_locks JOIN pg_stat_activity USING (pid)
               WHERE NOT granted AND datname = current_database()"""
        )
        count: int = row[0]
        return count

    async def transactions_open(self) -> int:
        [row] = await self._fetch(
            """SELECT count(*)::int FROM pg_stat_activity
               WHERE datname = current_database() AND state LIKE 'idle in transaction%'"""
        )
        count: int = row[0]
        return count
