"""A server's database and store, and backups of them made in this process."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from less_sync.bins.backup.check import check_backup
from less_sync.bins.backup.take import Backup, Taken, Wanted
from less_sync.storage import BlobKey, BlobStore, LocalBlobs
from tests.bins.restore.made import contents_of, fill, put

CONTENTS = 12
"""Of the files that `filled` makes."""


@dataclass(slots=True)
class Seen:
    """Watches backups; what it is told to do when a part begins, it does."""

    parts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    at: str = ""
    act: Callable[[], object] = object

    def begin(self, doing: str, total: int) -> None:
        assert total >= 0
        self.parts.append(str(doing))
        if doing == self.at:
            self.act()

    def advance(self, amount: int) -> None:
        assert amount >= 0

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass(slots=True)
class Source:
    """A database with rows in all tables, and contents of all its files."""

    url: str
    data_dir: Path
    contents: dict[BlobKey, bytes]
    store: BlobStore
    seen: Seen = field(default_factory=Seen)
    moment: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    async def take(
        self, folder: Path | None = None, *, store: BlobStore | None = None, **wanted: object
    ) -> Taken:
        """Make a backup, a minute after the one before."""
        self.moment += timedelta(minutes=1)
        backup = Backup(
            Wanted(self.data_dir, folder, **wanted),  # type: ignore[arg-type]  # checked by whoever names one
            self.store if store is None else store,
            self.seen,
            chosen=lambda _: None,
            now=lambda: self.moment,
        )
        return await backup.make(self.url)

    async def execute(self, query: str, *args: object) -> None:
        """Run a statement."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(query, *args)
        finally:
            await connection.close()

    async def replace(self, key: BlobKey, data: bytes) -> None:
        """Delete a file and upload another under the same id."""
        await self.execute(
            "UPDATE files SET cursor = cursor + 100, size = $3 WHERE space_id = $1 AND id = $2",
            *(*key, len(data)),
        )
        await put(self.store, {key: data})
        self.contents[key] = data

    def copy_of(self, taken: Taken, key: BlobKey) -> Path:
        """Where a backup has a content."""
        return taken.folder / "contents" / str(key.space) / str(key.file)


async def filled(url: str, place: Path) -> Source:
    """A source whose store is a directory."""
    store = LocalBlobs.at(place / "files")
    contents = contents_of(await fill(url))
    await put(store, contents)
    source = Source(url, place / "data", contents, store)
    connection = await asyncpg.connect(url)
    try:
        for key, data in contents.items():
            await connection.execute(
                "UPDATE files SET size = $3 WHERE space_id = $1 AND id = $2", *key, len(data)
            )
    finally:
        await connection.close()
    return source


async def assert_whole(source: Source, taken: Taken) -> None:
    """A backup has every content byte for byte, and is what its manifest says."""
    await check_backup(taken.folder, taken.manifest, Seen())
    found = {key: await asyncio.to_thread(source.copy_of(taken, key).read_bytes) for key in source.contents}
    assert found == source.contents
    assert taken.manifest.contents.count == len(source.contents)
    assert taken.manifest.faults == ()
