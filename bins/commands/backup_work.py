"""What `backup` does once the line is read: needs the libraries of the server."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from less_sync.bins.amounts import counted, shown_age, shown_bytes
from less_sync.bins.backup.check import check_backup
from less_sync.bins.backup.folder import BACKUPS, described
from less_sync.bins.backup.keep import keep_newest
from less_sync.bins.backup.manifest import BackupError, Manifest, newest_backup, os_text, read_manifest
from less_sync.bins.backup.place import Place, read_place
from less_sync.bins.backup.take import Backup, Taken, Wanted
from less_sync.bins.commands.bars import BackupBar
from less_sync.bins.errors import CommandError, print_warning
from less_sync.bins.file_storage import open_blobs
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.files import refuse_root_of_others
from less_sync.bins.postgres.private import private_postgres
from less_sync.bins.postgres.reach import told_with_place
from less_sync.bins.settings.config import data_directory
from less_sync.migrations import DatabaseUnreachable, MigrationError
from less_sync.storage import BlobStore, LocalBlobs

FAULTS_NAMED_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """What the line asks for."""

    folder: Path | None
    base: Path | None
    full: bool
    contents: bool
    verify: bool
    keep: int | None


def make(asked: Asked, env: Mapping[str, str]) -> bool:
    """Make a backup, say what came of it, and return whether it has every content.

    Raises:
        CommandError: it failed.
    """
    place = read_place(env)
    wanted = Wanted(
        place.data_dir,
        asked.folder,
        base=asked.base,
        full=asked.full,
        contents=asked.contents,
        verify=asked.verify,
    )
    folders: list[Path] = []
    taken = _run(wanted, place, folders)
    _tell(taken)
    if asked.keep is not None:
        try:
            for path in keep_newest(taken.folder, taken.manifest, asked.keep):
                print(f"removed {path}")
        except BackupError as error:
            raise CommandError(str(error), [f"the backup in {taken.folder} is finished"]) from error
    print(taken.manifest.digest)
    return not taken.manifest.faults or not asked.contents


def _run(wanted: Wanted, place: Place, folders: list[Path]) -> Taken:
    try:
        with BackupBar() as bar:
            return asyncio.run(_take(wanted, place, bar, folders))
    except KeyboardInterrupt:
        print(f"interrupted: {_how_to_go_on(wanted, folders)}", file=sys.stderr)
        raise
    except (BackupError, EmbeddedPostgresError, MigrationError) as error:
        raise CommandError(str(error), [_how_to_go_on(wanted, folders)] if folders else []) from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        text = f"cannot write the backup: {os_text(error)}{where}"
        raise CommandError(text, [_how_to_go_on(wanted, folders)] if folders else []) from error


def _how_to_go_on(wanted: Wanted, folders: list[Path]) -> str:
    """What is left behind, and what to do about it."""
    if not folders:
        return "nothing was written"
    named = "" if wanted.folder is None else f" {wanted.folder}"
    return f"{folders[0]} is not finished; `less-sync backup{named}` goes on with it"


async def _take(wanted: Wanted, place: Place, bar: BackupBar, folders: list[Path]) -> Taken:
    refuse_root_of_others(place.data_dir)
    async with _database(place) as url, _store(place) as store:
        try:
            return await Backup(wanted, store, bar, chosen=folders.append).make(url)
        except DatabaseUnreachable as error:
            raise BackupError(told_with_place(error, url)) from error


@asynccontextmanager
async def _database(place: Place) -> AsyncIterator[str]:
    if place.url is not None:
        yield place.url
        return
    if not EmbeddedPostgres.exists(place.data_dir):
        raise BackupError(f"no database: DATABASE_URL is not set, and {place.data_dir} holds no Postgres")
    async with private_postgres(place.data_dir) as url:
        yield url


@asynccontextmanager
async def _store(place: Place) -> AsyncIterator[BlobStore | None]:
    """The store as the server has it. A directory is not made: an empty one has lost everything."""
    store = LocalBlobs(place.files.directory) if place.files.backend == "local" else open_blobs(place)
    try:
        yield store
    finally:
        if store is not None:
            await store.aclose()


def _tell(taken: Taken) -> None:
    manifest, contents = taken.manifest, taken.contents
    print(f"backup {taken.folder}")
    print(f"{sum(table.rows for table in manifest.tables):,} rows of {len(manifest.tables)} tables")
    whole = manifest.contents
    size = f"{counted(whole.count, 'content')}, {shown_bytes(whole.bytes)}"
    print(f"{size}; {contents.taken_over:,} unchanged since before")
    if contents.damaged:
        print_warning(
            f"{counted(contents.damaged, 'content')} of before no longer as copied then: copied anew"
        )
    for fault in manifest.faults[:FAULTS_NAMED_MAX]:
        print_warning(f"{fault.path}: {fault.fault}")
    if len(manifest.faults) > FAULTS_NAMED_MAX:
        print_warning(f"and {len(manifest.faults) - FAULTS_NAMED_MAX:,} more, which the manifest names")


def check(folder: Path | None, env: Mapping[str, str]) -> None:
    """Check a finished backup, and print its digest last.

    Raises:
        CommandError: it is none, or damaged.
    """
    try:
        found = newest_backup(_backups(env) if folder is None else folder)
        manifest = read_manifest(found)
        with BackupBar() as bar:
            asyncio.run(check_backup(found, manifest, bar))
    except BackupError as error:
        raise CommandError(str(error)) from error
    print(f"{found}: {len(manifest.files):,} files are as the manifest says")
    print(manifest.digest)


def tell_list(folder: Path | None, env: Mapping[str, str]) -> None:
    """List the backups of a folder.

    Raises:
        CommandError: it cannot be read.
    """
    try:
        found = described(_backups(env) if folder is None else folder)
    except BackupError as error:
        raise CommandError(str(error)) from error
    for path, what in found:
        print(f"{path}  {what if isinstance(what, str) else _described(what)}")


def _described(manifest: Manifest) -> str:
    age = shown_age((datetime.now(UTC) - datetime.fromisoformat(manifest.created_at)).total_seconds())
    size = shown_bytes(sum(file.bytes for file in manifest.files))
    faults = f", {counted(len(manifest.faults), 'content')} missing" if manifest.faults else ""
    return f"{age} old, {size}, {counted(manifest.contents.count, 'content')}{faults}"


def _backups(env: Mapping[str, str]) -> Path:
    return data_directory(env) / BACKUPS
