"""A backup restored into a database and a store, in an order that can be killed anywhere.

1. Every file of the backup is checked. Nothing was touched until here.
2. The database is marked: from now on only this restore may use it.
3. The schema is brought to the backup's versions.
4. Contents are copied; those that are there already are kept.
5. One transaction replaces the rows, proves that they are the backup's, and takes the mark away.
6. The schema is migrated to the newest version.

Killed before 5 has committed, the mark stays and whoever wants to use the database is refused; the same
command finishes it. Killed after that, the database is whole, at the backup's versions. For operators:
docs/operations.md 14.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from less_sync.bins.amounts import counted
from less_sync.bins.backup import load_tables
from less_sync.bins.backup.contents import LEFT_OUT
from less_sync.bins.backup.load_contents import ContentLoader, Copied, holds_any
from less_sync.bins.backup.load_faults import told
from less_sync.bins.backup.manifest import Manifest
from less_sync.bins.backup.watching import Doing, Progress
from less_sync.bins.errors import CommandError
from less_sync.migrations import Begun, LockHeld, RestoredDatabase, restoring
from less_sync.storage import BlobStore


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is restored, and what may be replaced by it."""

    folder: Path
    manifest: Manifest
    force: bool = False
    """Replace whatever the database and the store hold."""
    keep_schema: bool = False
    """Stop at the backup's versions of the schema."""
    keep_others: bool = False
    """Contents that the backup does not have stay, also with `force`."""


@dataclass(slots=True)
class Outcome:
    """How a restore ended."""

    rows: int
    copied: Copied
    loaded: bool
    """False: the database held exactly these rows already."""
    version: int
    """The highest migration that is applied now."""


async def restore(url: str, store: BlobStore | None, wanted: Wanted, progress: Progress) -> Outcome:
    """Make the database and the store hold what a backup holds. It was checked by `verify`.

    Raises:
        BackupError: a file of the backup changed since it was checked.
        MigrationError: the database cannot be reached, or its schema cannot be trusted.
        BlobError: the store failed.
        CommandError: something is there that must not be replaced, or the database failed.
    """
    try:
        with told():
            async with restoring(url) as database:
                return await _Restore(database, store, wanted, progress).run()
    except LockHeld as error:
        raise CommandError("another process is restoring or migrating this database") from error


class _Restore:
    def __init__(
        self, database: RestoredDatabase, store: BlobStore | None, wanted: Wanted, progress: Progress
    ) -> None:
        self._database = database
        self._store = store
        self._wanted = wanted
        self._progress = progress
        schema = wanted.manifest.schema
        self._versions = [*schema.shared, *schema.own]

    async def run(self) -> Outcome:
        manifest = self._wanted.manifest
        begun = await self._database.begun()
        resumed = self._resumes(begun)
        await self._refuse_servers()
        versions, rows = await self._database.versions(), await load_tables.rows_there(self._database)
        # Only the transaction that loads the rows takes a mark away, whichever restore has left it.
        loaded = (
            begun is not None
            or not rows
            or not await load_tables.holds(self._database, manifest, self._progress)
        )
        if loaded:
            if not (resumed or self._wanted.force):
                await self._refuse_content(rows)
            await self._prepare(resumed=resumed, emptied=bool(rows) and versions != self._versions)
            copied = await self._contents(replace=self._wanted.force or resumed)
            await self._refuse_servers()
            await load_tables.load(self._database, self._wanted.folder, manifest, self._progress)
        else:
            copied = await self._contents_alone()
        self._progress.begin(Doing.MIGRATING, 0)
        if not self._wanted.keep_schema:
            await self._database.bring_to(None)
        await load_tables.analyze(self._database)
        version = max(await self._database.versions())
        return Outcome(sum(table.rows for table in manifest.tables), copied, loaded, version)

    def _resumes(self, begun: Begun | None) -> bool:
        """Whether the restore that was begun here is one of this backup."""
        if begun is None:
            return False
        if begun.digest == self._wanted.manifest.digest:
            return True
        if not self._wanted.force:
            raise CommandError(
                f"{begun} has not finished here: finish it with that backup, or give it up for this one "
                "with --force"
            )
        return False

    async def _refuse_servers(self) -> None:
        """Servers and backups go on to use what is replaced below them, so `force` does not help here."""
        count = await self._database.servers()
        if count:
            raise CommandError(
                f"a server or a backup is using this database ({counted(count, 'connection')} "
                "named less-sync or less-sync-backup): stop it first"
            )

    async def _refuse_content(self, rows: Mapping[str, int]) -> None:
        there = [_counted(name, count) for name, count in rows.items()]
        causes = [f"the database holds {', '.join(there)}"] if there else []
        if self._store is not None and await holds_any(self._store):
            causes.append("the store holds contents of files")
        if causes:
            raise CommandError("something is there already, which only --force replaces", causes)

    async def _prepare(self, *, resumed: bool, emptied: bool) -> None:
        if not resumed:
            await self._database.mark(self._wanted.manifest.digest)
        self._progress.begin(Doing.PREPARING, 0)
        if emptied:
            # Scripts that revert or apply would work on rows that go anyway, and may fail because of them.
            await load_tables.empty(self._database)
        await self._database.bring_to(self._versions)

    async def _contents(self, *, replace: bool) -> Copied:
        loader = self._loader(replace=replace)
        return Copied() if loader is None else await loader.load(self._progress)

    async def _contents_alone(self) -> Copied:
        """Below rows that are the backup's already. Others are kept out until all contents are there."""
        loader = self._loader(replace=self._wanted.force)
        if loader is None:
            return Copied()
        await loader.refuse_different(self._progress)
        self._progress.begin(Doing.PREPARING, 0)
        await self._database.mark(self._wanted.manifest.digest)
        copied = await loader.load(self._progress)
        await self._database.unmark()
        return copied

    def _loader(self, *, replace: bool) -> ContentLoader | None:
        wanted = self._wanted
        left_out = any(fault.fault == LEFT_OUT for fault in wanted.manifest.faults)
        if self._store is None or left_out:
            return None
        return ContentLoader(
            wanted.folder,
            wanted.manifest,
            self._store,
            replace=replace,
            remove_others=wanted.force and not wanted.keep_others,
        )


def _counted(name: str, count: int) -> str:
    more = "over " if count >= load_tables.COUNTED_MAX else ""
    return f"{more}{counted(count, 'row')} of {name}"
