"""Folders with large files, over the real client and the real server: engines whose transfers are counted."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.engine import Engine, WatchTimes
from less_sync.client.folder.exchange import Exchange
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.state import FolderState
from less_sync.sync.client import FileClient, FileDownload, SyncClient
from tests.client.folder.test_engine import Log
from tests.live import Live, claims

KEY = FolderKey(bytes(range(32)))
MIB = 1024 * 1024
TIMES = WatchTimes(scan_interval_s=0.05, retry_s=0.1, patience_s=1.0)
SPACE = UUID(claims("alice")["personal_space_id"])


class Killed(BaseException):
    """The command was killed here."""


@dataclass
class Meter:
    """What was asked for of files. `before` is called before each and may kill, `after` after the first."""

    sent: list[UUID] = field(default_factory=list)
    fetched: list[UUID] = field(default_factory=list)
    before: Callable[[int], None] = lambda number: None
    after: Callable[[], Awaitable[None]] | None = None


class MeteredFiles(FileClient):
    """The client of files, counted."""

    meter: Meter

    async def upload(self, space: str, file: UUID, **more: Any) -> bool:
        self.meter.before(len(self.meter.sent))
        stored = await super().upload(space, file, **more)
        self.meter.sent.append(file)
        after, self.meter.after = self.meter.after, None
        if after is not None:
            await after()
        return stored

    @asynccontextmanager
    async def download(
        self, space: str, file: UUID, *, ucan: str = ""
    ) -> AsyncGenerator[FileDownload | None, None]:
        self.meter.before(len(self.meter.fetched))
        async with super().download(space, file, ucan=ucan) as found:
            if found is not None:
                self.meter.fetched.append(file)
            yield found


@dataclass
class Desk:
    """One user's folders at one server."""

    live: Live
    database_url: str
    parent: Path
    scope: str = "sync files"
    part_bytes: int = MIB
    above_bytes: int = 256 * 1024

    def folder(self, name: str) -> Path:
        path = self.parent / name
        path.mkdir(exist_ok=True)
        return path

    async def run(self, verb: str, folder: Path, meter: Meter | None = None) -> Log:
        """One command, from opening the folder to closing it."""
        log = Log()
        async with self.engine(folder, log, meter) as engine:
            await getattr(engine, f"{verb}_once")()
        return log

    @asynccontextmanager
    async def engine(self, folder: Path, log: Log, meter: Meter | None = None) -> AsyncIterator[Engine]:
        async def token() -> str:
            return self.live.token("alice", scope=self.scope)

        with FolderState.open(folder) as state:
            tree = FileTree(folder, state.directory)
            replica = Replica(
                folder,
                state,
                tree,
                RecordCipher(KEY, SPACE),
                tell=log.tell,
                now=lambda: datetime.now(UTC),
                above_bytes=self.above_bytes,
            )
            url = f"ws://127.0.0.1:{self.live.port}/api/v1/ws"
            async with SyncClient(url, token) as client, MeteredFiles(url, token) as files:
                files.meter = meter or Meter()
                exchange = Exchange(client, SPACE, replica, log, files=files, part_bytes=self.part_bytes)
                yield Engine(exchange, log, TIMES)
            tree.close()

    async def rows(self, query: str) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def stored(self) -> int:
        """How many part files the server has."""
        return len(await self.rows("SELECT 1 FROM files"))

    async def live_records(self) -> int:
        """How many records are no bare tombstones: those of paths, and content records."""
        return len(await self.rows("SELECT 1 FROM records WHERE blob IS NOT NULL"))


def random_file(path: Path, size_bytes: int) -> bytes:
    content = os.urandom(size_bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content
