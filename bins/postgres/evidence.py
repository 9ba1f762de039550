"""What a database says about a space: its root key, and which UCANs are revoked there. Reads alone."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.bins.installed import server_parts
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.private import private_postgres
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.sharing.explain import Evidence

CONNECT_TIMEOUT_S: Final = 15.0


async def read_evidence(
    url: str | None,
    data_dir: Path,
    space: UUID,
    cids: Sequence[str],
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> Evidence | None:
    """Look a space and CIDs up in the database of a URL, else in the private Postgres of a data directory.

    None when neither is there. A database that cannot be reached is tried again for `connect_timeout_s`.

    Raises:
        CommandError: the libraries that speak to a database are not installed.
        UsageProblem: the private Postgres cannot be used.
        FolderError: the database does not answer.
    """
    if url is None and not EmbeddedPostgres.exists(data_dir):
        return None
    with server_parts("space explain with a database"):
        from less_sync.storage import PostgresPool, PostgresSpaceStore, StorageError, place_of
    try:
        async with _database(url, data_dir) as found:
            pool = await PostgresPool.open(found, connect_timeout_s=connect_timeout_s)
            try:
                read = await PostgresSpaceStore(pool).read_spaces([space], [(space, cid) for cid in cids])
            finally:
                await pool.aclose(5)
    except (EmbeddedPostgresError, DatabaseUrlError) as error:
        raise UsageProblem(str(error)) from error
    except (StorageError, OSError, ValueError) as error:
        what = f"the Postgres in {data_dir}" if url is None else place_of(url)
        raise FolderError(f"{what} cannot be read", "is it the right one, and migrated?") from error
    row = read.spaces.get(space)
    revoked = frozenset(cid for _, cid in read.revoked)
    return Evidence(row is not None, row.root_public_key if row else None, revoked)


@asynccontextmanager
async def _database(url: str | None, data_dir: Path) -> AsyncIterator[str]:
    if url is not None:
        yield driver_url(url)
        return
    async with private_postgres(data_dir) as found:
        yield found
