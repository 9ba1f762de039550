"""The membership log (docs/storage.md 5.2). Implements `storage.stores.MemberStore`."""

from collections.abc import Sequence
from uuid import UUID

from less_sync.storage.errors import read_status
from less_sync.storage.postgres.pool import PostgresPool
from less_sync.storage.postgres.space_rows import SPACE_COLUMNS, split_space
from less_sync.storage.stores import NOBODY
from less_sync.storage.types import AppendOutcome, AppendStatus, Caller, MemberEntry, MemberLog


class PostgresMemberStore:
    """Every operation is one round trip; it raises `Unavailable` or `StorageError` as `PostgresPool.run`."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool

    async def append(
        self,
        space: UUID,
        *,
        expected_version: int,
        prev_hash: bytes | None,
        entry_hash: bytes,
        payload: bytes,
        caller: Caller = NOBODY,
    ) -> AppendOutcome:
        """Append an entry if the log is at `expected_version` and ends with `prev_hash`.

        Of several that race for one place one wins: `lsync_append_member_v1` holds the lock of the space's
        row from reading the version to the commit.
        """
        [row] = await self._pool.fetch(
            "append_member",
            space,
            expected_version,
            prev_hash,
            entry_hash,
            payload,
            caller.client,
            caller.cids,
            caller.local_only,
        )
        status, chain_seq, cursor, version = row
        return AppendOutcome(read_status(AppendStatus, status), chain_seq, cursor, version)

    async def list(self, space: UUID, since_seq: int, *, cids: Sequence[str] = ()) -> MemberLog | None:
        """Read the entries after `since_seq`. One statement is one snapshot: version and entries agree."""
        found = split_space(await self._pool.fetch("list_members", space, since_seq, cids))
        if found is None:
            return None
        row, revoked, rest = found
        return MemberLog(row, revoked, [MemberEntry(*entry[SPACE_COLUMNS:]) for entry in rest])
