"""Folders with large files, over the real client and the real server: engines whose transfers are counted."""

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
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
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.state import FolderState
from less_sync.sync.client import FileClient, FileDownload, PushChange, PushResult, SyncClient
from tests.client.folder.devices import Fuse, Killed, MortalTree
from tests.client.folder.test_engine import Log
from tests.live import Live, claims

KEY = FolderKey(bytes(range(32)))
MIB = 1024 * 1024
TIMES = WatchTimes(scan_interval_s=0.05, retry_s=0.1, patience_s=1.0)


@dataclass
class Meter:
    """What was sent and fetched, and what happens around it.

    Args:
        fuse: burns before and after each step that the server takes part in.
        after: called once, after the first part was sent.
    """

    fuse: Fuse = field(default_factory=Fuse)
    after: Callable[[], Awaitable[None]] | None = None
    sent: list[UUID] = field(default_factory=list)
    fetched: list[UUID] = field(default_factory=list)
    bodies: dict[UUID, set[bytes]] = field(default_factory=dict)
    """A digest of what was sent under each id."""
    asking: bool = False
    """Whether it is only asked if there is a storage."""


class MeteredFiles(FileClient):
    """The client of files, counted."""

    meter: Meter

    async def upload(
        self, space: str, file: UUID, *, content: Callable[[], AsyncIterator[bytes]], **more: Any
    ) -> bool:
        body = hashlib.sha256()

        async def watched() -> AsyncGenerator[bytes, None]:
            async for piece in content():
                body.update(piece)
                yield piece

        meter = self.meter
        meter.fuse.burn()
        stored = await super().upload(space, file, content=watched, **more)
        meter.sent.append(file)
        meter.bodies.setdefault(file, set()).add(body.digest())
        meter.fuse.burn()
        after, meter.after = meter.after, None
        if after is not None:
            await after()
        return stored

    @asynccontextmanager
    async def download(
        self, space: str, file: UUID, *, ucan: str = ""
    ) -> AsyncGenerator[FileDownload | None, None]:
        meter = self.meter
        if not meter.asking:
            meter.fuse.burn()
        async with super().download(space, file, ucan=ucan) as found:
            if found is not None:
                meter.fetched.append(file)
            yield found
        if not meter.asking:
            meter.fuse.burn()

    async def served(self, space: str, *, ucan: str = "") -> None:
        self.meter.asking = True
        await super().served(space, ucan=ucan)
        self.meter.asking = False


class MortalClient(SyncClient):
    """Dies before or after a push."""

    fuse: Fuse

    async def push(self, space: str, changes: Sequence[PushChange], **more: Any) -> PushResult:
        self.fuse.burn()
        result = await super().push(space, changes, **more)
        self.fuse.burn()
        return result


@dataclass
class Desk:
    """One user's folders at one server."""

    live: Live
    database_url: str
    parent: Path
    user: str = "alice"
    scope: str = "sync files"
    part_bytes: int = MIB
    tree: type[MortalTree] = MortalTree
    above_bytes: int = 256 * 1024
    files_url: str = ""
    """Where files are asked for, if not at the server."""

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

    async def survives(self, verb: str, folder: Path, meter: Meter) -> bool:
        """Whether a command came to its end before the meter's fuse had burnt down."""
        try:
            await self.run(verb, folder, meter)
        except Killed:
            return False
        return True

    @asynccontextmanager
    async def engine(self, folder: Path, log: Log, meter: Meter | None = None) -> AsyncIterator[Engine]:
        async with self.exchange(folder, log, meter) as exchange:
            yield Engine(exchange, log, TIMES)

    @asynccontextmanager
    async def exchange(self, folder: Path, log: Log, meter: Meter | None = None) -> AsyncIterator[Exchange]:
        async def token() -> str:
            return self.live.token(self.user, scope=self.scope)

        space, meter = UUID(claims(self.user)["personal_space_id"]), meter or Meter()
        with FolderState.open(folder) as state:
            tree = self.tree(folder, state.directory)
            tree.fuse = meter.fuse
            replica = Replica(
                folder,
                state,
                tree,
                RecordCipher(KEY, space),
                tell=log.tell,
                now=lambda: datetime.now(UTC),
                above_bytes=self.above_bytes,
            )
            url = f"ws://127.0.0.1:{self.live.port}/api/v1/ws"
            async with (
                MortalClient(url, token) as client,
                MeteredFiles(self.files_url or url, token) as files,
            ):
                client.fuse, files.meter = meter.fuse, meter
                try:
                    yield Exchange(client, space, replica, log, files=files, part_bytes=self.part_bytes)
                finally:
                    tree.close()

    async def rows(self, query: str) -> list[Any]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    async def stored(self) -> int:
        """How many part files the server has."""
        space = claims(self.user)["personal_space_id"]
        return len(await self.rows(f"SELECT 1 FROM files WHERE space_id = '{space}'"))

    async def live_records(self) -> int:
        """How many records are no bare tombstones: those of paths, and content records."""
        space = claims(self.user)["personal_space_id"]
        return len(await self.rows(f"SELECT 1 FROM records WHERE space_id = '{space}' AND blob IS NOT NULL"))


def random_file(path: Path, size_bytes: int) -> bytes:
    content = os.urandom(size_bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return content
