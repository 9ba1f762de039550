"""A Postgres and a standby that streams from it, both real, on sockets of their own."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import asyncpg

from less_sync.bins.postgres.embedded import EmbeddedPostgres, binaries

_STREAMING: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "60",
    "wal_keep_size": "512MB",
    "hot_standby_feedback": "off",
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",
}
_WAIT_S_MAX: Final = 30.0

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]


def primary_of(data_dir: Path, settings: Mapping[str, str] | None = None) -> EmbeddedPostgres:
    """A Postgres that others may stream from; to be entered."""
    return EmbeddedPostgres(data_dir, settings={**_STREAMING, **(settings or {})})


def standby_of(primary: EmbeddedPostgres, data_dir: Path) -> EmbeddedPostgres:
    """Copy a running primary below `data_dir`; entering what is returned starts the copy as its standby."""
    copy_primary(primary, data_dir)
    return EmbeddedPostgres(data_dir, settings=_STREAMING)


def copy_primary(primary: EmbeddedPostgres, data_dir: Path) -> None:
    """Make a base backup that is told to follow the primary."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    [host] = parse_qs(urlsplit(primary.url).query)["host"]
    # Nothing but this: else the path of a password file ends up in what the standby connects with.
    where = f"host={host} port=5432 user=postgres application_name=standby"
    program = str(binaries() / "pg_basebackup")
    subprocess.run(
        [program, "-d", where, "-D", str(data_dir / "postgres"), "-R", "-X", "stream", "-c", "fast"],
        check=True,
        capture_output=True,
        env={"LC_ALL": "C", "PATH": os.defpath, "HOME": "/nonexistent"},
    )
    owner = (primary.data_dir / "postgres").stat()
    for folder, _, names in os.walk(data_dir / "postgres"):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def in_database(url: str, name: str) -> str:
    """The same server with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@dataclass(frozen=True, slots=True)
class Pair:
    """A database and its copy, seen by an operator."""

    primary_url: str
    standby_url: str
    primary: "Connection"
    standby: "Connection"

    async def pause(self) -> None:
        """From now on the standby replays nothing, so it lags as soon as something is written."""
        await self._ask("SELECT pg_wal_replay_pause()")
        await self._until(lambda: self._ask("SELECT pg_get_wal_replay_pause_state() = 'paused'"))

    async def resume(self) -> None:
        """Replay again, and return once what the primary has now is there."""
        await self._ask("SELECT pg_wal_replay_resume()")
        await self.catch_up()

    async def cancel_at_once(self) -> None:
        """From now on what the standby replays cancels, without waiting, whatever it reads."""
        await self._ask("ALTER SYSTEM SET max_standby_streaming_delay = 0", change=True)
        await self._ask("SELECT pg_reload_conf()")
        await self._until(lambda: self._ask("SELECT current_setting('max_standby_streaming_delay') = '0'"))

    async def catch_up(self) -> None:
        """Return once the standby has replayed what the primary has committed.

        Not what it has written: the last of that, as a lock, is not sent before somebody commits.
        """
        written = await self.primary.fetchval("SELECT pg_current_wal_flush_lsn()::text")
        query = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn"
        await self._until(lambda: self._ask(query, written))

    async def _ask(self, query: str, *args: object, change: bool = False) -> object:
        """Ask the standby; what it replays may cancel any query."""
        while True:
            try:
                con = await asyncpg.connect(self.standby_url)
                try:
                    return await (con.execute(query) if change else con.fetchval(query, *args))
                finally:
                    await con.close()
            except (asyncpg.SerializationError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
                await asyncio.sleep(0.01)

    async def _until(self, ask: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(_WAIT_S_MAX):
            while not await ask():  # noqa: ASYNC110 - only the database knows
                await asyncio.sleep(0.01)


@asynccontextmanager
async def pair(primary_url: str, standby_url: str) -> AsyncIterator[Pair]:
    """An operator's connections to both."""
    primary = await asyncpg.connect(primary_url)
    try:
        standby = await asyncpg.connect(standby_url)
        try:
            yield Pair(primary_url, standby_url, primary, standby)
        finally:
            await standby.close()
    finally:
        await primary.close()
