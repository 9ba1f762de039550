"""What `restore` and `upgrade-data` do once the line is read: needs the libraries of the server."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from less_sync.bins.backup.load import Outcome, Wanted, restore
from less_sync.bins.backup.load_upgrade import Upgrade, upgrade
from less_sync.bins.backup.manifest import BackupError, Manifest, newest_backup, read_manifest
from less_sync.bins.backup.place import Place, check_store, opened_store, read_place
from less_sync.bins.backup.reading import verify
from less_sync.bins.commands.bars import RestoreBar
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError, major_version
from less_sync.bins.postgres.files import refuse_root_of_others
from less_sync.bins.postgres.reach import told_with_place
from less_sync.migrations import DatabaseUnreachable, MigrationError
from less_sync.storage import StorageError

T = TypeVar("T")


def restore_from(backup: Path, env: Mapping[str, str], *, force: bool, keep_schema: bool) -> None:
    """Restore a backup where a server with this environment has its things, and say what came of it.

    Raises:
        CommandError: it was refused, or failed.
    """
    place = read_place(env)

    async def work(bar: RestoreBar) -> tuple[Wanted, Outcome]:
        folder, manifest = await _checked(backup, place, bar)
        wanted = Wanted(folder, manifest, force=force, keep_schema=keep_schema)
        async with _database(place) as url, opened_store(place, manifest.contents.count) as store:
            return wanted, await restore(url, store, wanted, bar)

    _tell(*_run(work))


def upgrade_from(backup: Path, env: Mapping[str, str], *, force: bool) -> None:
    """Move the data directory of this environment to our version of Postgres, and say what came of it.

    Raises:
        CommandError: it was refused, or failed.
    """
    place = read_place(env, embedded=True)

    async def work(bar: RestoreBar) -> tuple[Wanted, Outcome, Path]:
        folder, manifest = await _checked(backup, place, bar)
        wanted = Wanted(folder, manifest)
        store = opened_store(place, manifest.contents.count)
        return wanted, *await upgrade(Upgrade(place.data_dir, wanted, store, force=force), bar)

    wanted, outcome, aside = _run(work)
    _tell(wanted, outcome)
    print(f"{place.data_dir / 'postgres'} is of Postgres {major_version()} now")
    print(f"the former one is kept as {aside}: remove it when all is well")


async def _checked(backup: Path, place: Place, bar: RestoreBar) -> tuple[Path, Manifest]:
    folder = newest_backup(backup)
    manifest = read_manifest(folder)
    check_store(place, manifest.contents.count)
    await verify(folder, manifest, bar)
    return folder, manifest


@asynccontextmanager
async def _database(place: Place) -> AsyncIterator[str]:
    if place.url is None:
        refuse_root_of_others(place.data_dir)
        async with EmbeddedPostgres(place.data_dir) as postgres:
            yield postgres.url
        return
    try:
        yield place.url
    except DatabaseUnreachable as error:
        raise CommandError(told_with_place(error, place.url)) from error


def _run(work: Callable[[RestoreBar], Awaitable[T]]) -> T:
    """Do the work under a bar. Whoever ends it early is told what it left behind."""
    bar = RestoreBar()
    try:
        with bar:
            return asyncio.run(_awaited(work(bar)))
    except KeyboardInterrupt:
        print(f"interrupted: {bar.state}", file=sys.stderr)
        raise
    except (BackupError, MigrationError, EmbeddedPostgresError, StorageError) as error:
        raise CommandError(f"{error}; {bar.state}") from error
    except CommandError as error:
        raise CommandError(f"{error}; {bar.state}", error.causes) from error


async def _awaited(work: Awaitable[T]) -> T:
    return await work


def _tell(wanted: Wanted, outcome: Outcome) -> None:
    manifest, copied = wanted.manifest, outcome.copied
    print(f"backup {wanted.folder}, finished {manifest.finished_at}")
    rows = f"{outcome.rows:,} rows of {len(manifest.tables)} tables"
    print(f"{rows} {'loaded and compared' if outcome.loaded else 'were there already'}")
    counts = [f"contents: {copied.written:,} copied", f"{copied.kept:,} were there already"]
    if copied.removed:
        counts.append(f"{copied.removed:,} others removed")
    print(", ".join(counts))
    missing = len(manifest.faults)
    if missing:
        print(f"{missing:,} contents are not in the backup as they should be; its manifest names them")
    print(f"schema at migration {outcome.version}")
