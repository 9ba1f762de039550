"""Backups of a server that is written to, restored, are of one moment: what each client had noted of it."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.bins.backup.check import check_backup
from less_sync.bins.backup.load import Wanted, restore
from less_sync.bins.backup.take import Taken
from less_sync.storage import BlobKey, LocalBlobs
from less_sync.storage.objects.memory import MemoryBlobs
from tests.bins.backup.source import Seen, Source
from tests.live import live_server
from tests.sync.file_requests import Shelf, shelf

USERS = 4
BACKUPS = 4
BACKUPS_MAX = 30
OPS_BEFORE = 40


@dataclass(frozen=True, slots=True)
class State:
    """What a space holds."""

    records: dict[str, bytes]
    files: dict[str, tuple[bytes, bytes]]
    """Content, and the 40 bytes of the key that it is sealed with."""


@dataclass(slots=True)
class Writer:
    """The only client of its space, who notes what each cursor stands for."""

    own: Shelf
    chance: random.Random
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes, bytes]] = field(default_factory=dict)
    """Record, content, key."""
    history: dict[int, State] = field(default_factory=dict)
    cursor: int = 0
    epoch: int = 1
    gone: list[str] = field(default_factory=list)
    refused: int = 0
    replaced: int = 0

    def note(self, cursor: int) -> None:
        self.cursor = cursor
        self.history[cursor] = State(
            {id: blob for id, (_, blob) in self.records.items()},
            {id: (content, key) for id, (_, content, key) in self.files.items()},
        )

    async def step(self) -> None:
        choice = self.chance.random()
        if choice < 0.35 or len(self.records) < 3:
            await self.write()
        elif choice < 0.75:
            await self.upload()
        elif choice < 0.92:
            await self.delete()
        else:
            await self.rotate()

    async def write(self) -> None:
        id = self.chance.choice([str(uuid4()), *self.records])
        expected, _ = self.records.get(id, (0, b""))
        blob = self.chance.randbytes(self.chance.randrange(1, 3000))
        dek = self.epoch.to_bytes(4, "big") + bytes(40)
        done = await self.own.client.push({"id": id, "expected_cursor": expected, "blob": blob, "dek": dek})
        assert done["ok"], done
        self.records[id] = (done["cursor"], blob)
        self.note(done["cursor"])

    async def upload(self) -> None:
        """A new file, or one under the id of a deleted one."""
        old = self.gone and self.chance.random() < 0.5
        file = self.gone.pop(0) if old else str(uuid4())
        self.own.record = self.chance.choice(list(self.records))
        content = self.chance.randbytes(self.chance.choice([0, 10, 100_000, 700_000]))
        key = self.chance.randbytes(40)
        answer = await self.own.put(file, content, key=self.epoch.to_bytes(4, "big") + key)
        if answer.status == 503:
            self.refused += 1
            self.gone.append(file)
            return
        assert answer.status == 201, answer
        self.replaced += bool(old)
        self.files[file] = (self.own.record, content, key)
        self.note(self.cursor + 1)

    async def delete(self) -> None:
        id = self.chance.choice(list(self.records))
        expected, _ = self.records.pop(id)
        done = await self.own.client.push({"id": id, "expected_cursor": expected})
        assert done["ok"], done
        for file in [file for file, (record, _, _) in self.files.items() if record == id]:
            del self.files[file]
            self.gone.append(file)
        self.note(done["cursor"])

    async def rotate(self) -> None:
        """Wrap every key anew; no cursor moves, and the key within stays the same."""
        client, space = self.own.client, self.own.client.space
        self.epoch += 1
        assert await client.call("epoch.begin", {"space": space, "epoch": self.epoch}) == {
            "epoch": self.epoch
        }
        epoch = self.epoch.to_bytes(4, "big")
        deks = [{"id": file, "dek": epoch + key} for file, (_, _, key) in self.files.items()]
        assert (await client.call("file.deks.rewrap", {"space": space, "deks": deks}))["ok"]
        await client.call("epoch.complete", {"space": space, "epoch": self.epoch})


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    blobs = LocalBlobs.at(tmp_path / "files")
    yield blobs
    await blobs.aclose()


async def test_backups_under_load_are_what_every_client_had_at_one_moment(
    database_url: str, tmp_path: Path, store: LocalBlobs
) -> None:
    source = Source(database_url, tmp_path / "data", {}, store)
    taken: list[Taken] = []
    async with live_server(database_url, blobs=store) as live:
        writers = [Writer(await shelf(live, f"user {n}"), random.Random(n)) for n in range(USERS)]
        for writer in writers:
            writer.records[writer.own.record] = (1, b"x")
            writer.note(1)
        ended = asyncio.Event()

        def refused() -> int:
            return sum(writer.refused for writer in writers)

        def taken_over() -> int:
            return sum(one.contents.taken_over for one in taken)

        async def write(writer: Writer) -> None:
            while not ended.is_set():
                await writer.step()

        for writer in writers:
            for _ in range(OPS_BEFORE):
                await writer.step()
        writing = [asyncio.create_task(write(writer)) for writer in writers]
        try:
            # Until each has met the other, which a busy machine may keep from happening at first.
            while len(taken) < BACKUPS or (len(taken) < BACKUPS_MAX and not (refused() and taken_over())):
                before = [writer.cursor for writer in writers]
                taken.append(await source.take())
                assert all(writer.cursor > cursor for writer, cursor in zip(writers, before, strict=True))
                await asyncio.sleep(0.3)
        finally:
            ended.set()
            await asyncio.gather(*writing)
    assert refused() > 0, "no upload met a backup"
    assert taken_over() > 0
    for one in taken:
        await _assert_one_moment(database_url, one, writers)


async def _assert_one_moment(url: str, taken: Taken, writers: list[Writer]) -> None:
    assert taken.manifest.faults == ()
    await check_backup(taken.folder, taken.manifest, Seen())
    blobs = MemoryBlobs()
    await restore(url, blobs, Wanted(taken.folder, taken.manifest, force=True), Seen())
    connection = await asyncpg.connect(url)
    try:
        for writer in writers:
            space = UUID(writer.own.client.space)
            cursor = await connection.fetchval("SELECT cursor FROM spaces WHERE id = $1", space)
            records = await connection.fetch(
                "SELECT id, blob FROM records WHERE space_id = $1 AND NOT deleted", space
            )
            files = await connection.fetch(
                "SELECT id, size, wrapped_dek FROM files WHERE space_id = $1", space
            )
            found = {}
            for row in files:
                content = await _content(blobs, BlobKey(space, row["id"]))
                assert len(content) == row["size"]
                found[str(row["id"])] = (content, bytes(row["wrapped_dek"])[4:])
            state = State({str(row["id"]): bytes(row["blob"]) for row in records}, found)
            assert state == writer.history[cursor]
    finally:
        await connection.close()


async def _content(blobs: MemoryBlobs, key: BlobKey) -> bytes:
    async with blobs.open(key) as opened:
        assert opened is not None
        return b"".join([chunk async for chunk in opened.chunks()])
