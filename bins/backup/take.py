"""Making a backup of a database and the contents of its files (docs/operations.md 14.1).

The order is what makes it consistent, while servers go on writing:

    the lock          from here on no content is removed or replaced (docs/files.md 3.6)
    the snapshot      all tables of one moment; ends with the last of them, so that it holds up no vacuum
    the contents      of the files that these tables name
    the lock's end    once the database said that it was held all the while
    reading back      what was written
    the manifest      and with it the backup is one
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from less_sync import migrations
from less_sync.bins.backup.check import read_back
from less_sync.bins.backup.contents import LEFT_OUT, PAUSES_S, ContentCopier, Contents, Earlier
from less_sync.bins.backup.copied import CopiedLog, read_copied, write_copied
from less_sync.bins.backup.disk import make_folder, remove_others
from less_sync.bins.backup.folder import choose_folder, held_alone, refuse_finished
from less_sync.bins.backup.last import LAST_BACKUP, remember
from less_sync.bins.backup.manifest import (
    CONTENTS,
    MANIFEST,
    SOURCES,
    TABLES,
    BackupError,
    Fault,
    FileEntry,
    Manifest,
    SnapshotEntry,
    TableEntry,
    contents_entry,
    finished_backups,
    hash_file,
    newest_backup,
    os_text,
    read_manifest,
    timestamp,
)
from less_sync.bins.backup.source import Snapshot, Source, connected
from less_sync.bins.backup.tables import FileRow, copy_table, file_rows
from less_sync.bins.backup.watching import Part, Watcher
from less_sync.client import durable
from less_sync.migrations import schema_at
from less_sync.storage import BlobStore

SHARED_VERSIONS: Final = 12
"""Migrations that a database must have."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    data_dir: Path
    folder: Path | None = None
    """None: the newest unfinished one in the data directory, else a new one."""
    base: Path | None = None
    """The finished backup to take contents over from; None: the newest beside this one."""
    full: bool = False
    """Nothing is taken over."""
    contents: bool = True
    verify: bool = True


@dataclass(slots=True)
class Taken:
    """A finished backup, and what there is to tell of it."""

    folder: Path
    manifest: Manifest
    contents: Contents


class Backup:
    """One that is being made.

    Args:
        store: None: there is none.
        chosen: is told the folder as soon as there is one.
        now: for times in the manifest.
        pauses_s: between attempts at a content that the store did not give.
    """

    def __init__(
        self,
        wanted: Wanted,
        store: BlobStore | None,
        watcher: Watcher,
        *,
        chosen: Callable[[Path], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._wanted = wanted
        self._store = store
        self._watcher = watcher
        self._chosen = chosen
        self._now = now
        self._pauses_s = pauses_s

    async def make(self, url: str) -> Taken:
        """Make it, or go on with one that was interrupted.

        Raises:
            BackupError: it cannot be made; what was copied is kept, and the next attempt goes on with it.
            MigrationError: the history of the database cannot be trusted.
            OSError: the disk failed.
        """
        await migrations.status(url)  # refuses what this release does not know
        async with connected(url) as source:
            make_folder(self._wanted.data_dir)
            folder = choose_folder(self._wanted.folder, self._wanted.data_dir, source.entry, self._now())
            self._chosen(folder)
            with held_alone(folder):
                refuse_finished(folder)  # by who held it before
                return await self._into(folder, source)

    async def _into(self, folder: Path, source: Source) -> Taken:
        await source.lock(lambda: self._watcher.begin(Part.WAITING, 0))
        earlier = self._earlier(folder, source)
        for name in (TABLES, CONTENTS):
            make_folder(folder / name)
        created_at = timestamp(self._now())
        async with source.snapshot() as snapshot:
            tables, files = await self._copy_tables(folder, source, snapshot)
        contents = await self._copy_contents(folder, source, tables, earlier)
        await source.check_lock()
        write_copied(folder, source.entry, contents.copied.values())
        found = hash_file(folder / SOURCES)
        files.append(FileEntry(SOURCES, found.bytes, found.sha256))
        files += [one.entry for one in contents.copied.values()]
        remove_others(folder, {MANIFEST, *(file.path for file in files)})
        make_folder(folder / CONTENTS)  # there even if nothing is in it
        for path in (folder / TABLES, folder / CONTENTS, folder, folder.parent):
            durable.DISK.sync(path)
        await source.connection.close()  # nothing that follows holds up a removal
        manifest = Manifest(
            created_at=created_at,
            finished_at="",
            server_version=source.server_version,
            tool_version=version("less-sync"),
            database=source.entry,
            schema=snapshot.schema,
            snapshot=SnapshotEntry(snapshot.lsn),
            tables=tuple(sorted(tables, key=lambda table: table.name)),
            highest_cursor=snapshot.highest_cursor,
            contents=contents_entry(one.entry for one in contents.copied.values()),
            files=tuple(sorted(files)),
            faults=tuple(sorted(contents.faults, key=lambda fault: fault.path)),
        )
        return Taken(folder, await self._finished(folder, manifest, contents), contents)

    def _earlier(self, folder: Path, source: Source) -> Earlier | None:
        """The finished backup of the same database that is nearest to now."""
        if self._wanted.full:
            return None
        if self._wanted.base is not None:
            base = newest_backup(self._wanted.base)
            manifest = read_manifest(base)
            if not manifest.database.is_same(source.entry):
                raise BackupError(f"{base} is a backup of another database")
        else:
            beside = [
                (path, manifest)
                for path, manifest in finished_backups(folder.parent)
                if manifest.database.is_same(source.entry)
            ]
            if not beside:
                return None
            base, manifest = beside[-1]
        return _trusted(base, manifest)

    async def _copy_tables(
        self, folder: Path, source: Source, snapshot: Snapshot
    ) -> tuple[list[TableEntry], list[FileEntry]]:
        self._watcher.begin(Part.TABLES, 0)
        if len(snapshot.schema.shared) < SHARED_VERSIONS:
            raise BackupError("the database's schema is an old one: `less-sync migrate` brings it up to date")
        known = schema_at((*snapshot.schema.shared, *snapshot.schema.own))
        for name in snapshot.tables:
            if name not in known:
                self._watcher.warn(f"table {name} is none of this release's, and is not in the backup")
        tables, files = [], []
        for name in known:
            columns = await source.columns(name)
            table, file = await copy_table(source, folder, name, columns, self._watcher)
            tables.append(table)
            files.append(file)
        return tables, files

    async def _copy_contents(
        self, folder: Path, source: Source, tables: list[TableEntry], earlier: Earlier | None
    ) -> Contents:
        [files] = [table for table in tables if table.name == "files"]
        count = total = 0
        for row in file_rows(folder, files):
            count += 1
            total += row.size_bytes
        if not count:
            return Contents()
        if not self._wanted.contents:
            return Contents(faults=[Fault(row.path, LEFT_OUT) for row in file_rows(folder, files)])
        if self._store is None:
            raise BackupError(
                f"the database names {count:,} files and no store of contents is set: set"
                " FILE_STORAGE_BACKEND and what belongs to it as the server has them, or leave"
                " contents out with --without-contents"
            )
        self._watcher.begin(Part.CONTENTS, total)
        return await self._copied(folder, source, file_rows(folder, files), earlier, self._store)

    async def _copied(
        self,
        folder: Path,
        source: Source,
        rows: Iterator[FileRow],
        earlier: Earlier | None,
        store: BlobStore,
    ) -> Contents:
        log, here = CopiedLog.continued(folder, source.entry)
        try:
            copier = ContentCopier(
                folder,
                store,
                source,
                log,
                self._watcher,
                here=here,
                earlier=earlier,
                check=self._wanted.verify,
                pauses_s=self._pauses_s,
            )
            return await copier.copy(rows)
        finally:
            log.close()

    async def _finished(self, folder: Path, manifest: Manifest, contents: Contents) -> Manifest:
        """Read back what was written, and make a backup of it."""
        if self._wanted.verify:
            known = contents.copied.keys() - contents.fresh  # was read when it was taken over
            await read_back(folder, [one for one in manifest.files if one.path not in known], self._watcher)
        finished = _finished_at(manifest, timestamp(self._now()))
        durable.replace(folder / MANIFEST, finished.encoded())
        try:
            remember(self._wanted.data_dir, folder, finished)
        except OSError as error:  # the backup is finished all the same
            self._watcher.warn(f"{LAST_BACKUP} names another one, as it cannot be written: {os_text(error)}")
        return finished


def _trusted(base: Path, manifest: Manifest) -> Earlier:
    """A finished backup whose notes about contents are as it left them, and agree with its manifest."""
    entries = {entry.path: entry for entry in manifest.files}
    try:
        found = hash_file(base / SOURCES)
    except FileNotFoundError:
        return Earlier(base, {})
    if entries.get(SOURCES) != FileEntry(SOURCES, found.bytes, found.sha256):
        return Earlier(base, {})
    copied = read_copied(base, manifest.database)
    return Earlier(base, {path: one for path, one in copied.items() if entries.get(path) == one.entry})


def _finished_at(manifest: Manifest, moment: str) -> Manifest:
    return replace(manifest, finished_at=moment).sealed()
