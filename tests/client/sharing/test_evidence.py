"""Where `space explain` finds root keys and revocations: an embedded Postgres, running or not."""

from pathlib import Path
from uuid import UUID

import pytest

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.bins.postgres.evidence import read_evidence
from less_sync.client.folder.errors import FolderError
from less_sync.migrations import migrate_up
from less_sync.storage import PostgresPool, PostgresRevocationStore, PostgresSpaceStore

SPACE = UUID("3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e")
ROOT_KEY = b"\x02" + bytes(32)


async def test_the_private_postgres_is_asked_while_it_runs_and_started_when_it_does_not(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "data"
    assert await read_evidence(None, data_dir, SPACE, ["a"]) is None
    async with EmbeddedPostgres(data_dir) as postgres:
        await migrate_up(postgres.url)
        pool = await PostgresPool.open(postgres.url)
        await PostgresSpaceStore(pool).create_space(SPACE, "client", ROOT_KEY)
        await PostgresRevocationStore(pool).revoke(SPACE, "a")
        await pool.aclose(5)
        running = await read_evidence(None, data_dir, SPACE, ["a", "b"])
    stopped = await read_evidence(None, data_dir, SPACE, ["a", "b"])
    assert running == stopped
    assert running is not None
    assert (running.exists, running.root_public_key, running.revoked) == (True, ROOT_KEY, frozenset({"a"}))
    unknown = await read_evidence(None, data_dir, UUID(int=7), ["a"])
    assert unknown is not None
    assert (unknown.exists, unknown.root_public_key, unknown.revoked) == (False, None, frozenset())


async def test_a_database_that_does_not_answer_is_no_evidence(
    tmp_path: Path, empty_database_url: str
) -> None:
    for url, told in (
        ("postgresql://nobody:secret@127.0.0.1:1/none", 'database "none" at 127.0.0.1:1 cannot be read'),
        (empty_database_url, 'database "less_sync_test_.*" at .* cannot be read'),
        ("nonsense", "database error: error with configuration: relative URL without a base"),
    ):
        with pytest.raises(FolderError, match=f"^{told}$"):
            await read_evidence(url, tmp_path, SPACE, [], connect_timeout_s=0.1)
