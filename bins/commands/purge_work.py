"""What `admin purge` does once its line is read: needs the libraries of the server.

Rows first, in one transaction, and contents after it. In the other order a purge that dies in between would
leave rows whose contents are lost. In this one it leaves contents that no row names, which nobody is served:
they are found by their names, so the same command again removes them, and the sweep would too.
"""

import sys
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

import typer

from less_sync.auth import parse_uuid
from less_sync.bins.amounts import counted, shown_bytes
from less_sync.bins.errors import CommandError
from less_sync.bins.file_storage import open_blobs
from less_sync.bins.own_spaces import OWN_SPACES
from less_sync.bins.postgres.operator import Database, existing, work_on
from less_sync.bins.settings.config import Settings
from less_sync.storage import (
    LOCK_NOT_AVAILABLE,
    BlobError,
    BlobStore,
    PostgresFileStore,
    PostgresPool,
    PostgresSurveys,
    Purged,
    SpaceFigures,
    StorageError,
    purge_space,
)
from less_sync.sync.files.removals import HeldByBackup, Removals

LOOK_S: Final = 600.0
FAILURES_NAMED_MAX: Final = 20
PASSES_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Found:
    """What there is of a space: its rows, if it has any, and its contents in the store."""

    space: UUID
    figures: SpaceFigures | None
    contents: int
    content_bytes: int
    stored: bool
    """Whether there is a store that was looked into."""


@dataclass(slots=True)
class Removed:
    """What became of the contents."""

    count: int = 0
    kept: int = 0
    """Uploaded anew meanwhile."""
    failures: list[str] = field(default_factory=list)
    failed: int = 0


def parse_space(text: str) -> UUID:
    """The id of a space."""
    space = parse_uuid(text)
    if space is None:
        raise typer.BadParameter("not the id of a space", param_hint="ID")
    return space


def look(settings: Settings, space: UUID) -> Found:
    """Find out what there is.

    Raises:
        CommandError: nothing; or the database or the store cannot be asked, or would be left half done.
    """

    async def work(pool: PostgresPool) -> Found:
        figures = await PostgresSurveys(pool, left_out=OWN_SPACES, question_s=LOOK_S).describe(space)
        blobs = _store(settings)
        if blobs is None:
            return Found(space, figures, 0, 0, stored=False)
        sizes = [one.size_bytes async for page in blobs.of_space(space) for one in page]
        await blobs.aclose()
        return Found(space, figures, len(sizes), sum(sizes), stored=True)

    found = work_on(_database(settings), work)
    if found.figures is None and not found.contents:
        raise CommandError(f"there is no space {space}, and no content of one in the file storage")
    if not found.stored and found.figures is not None and found.figures.files:
        raise CommandError(
            f"space {space} has {counted(found.figures.files, 'file')}, and there is no file storage here: "
            "set FILE_STORAGE_BACKEND and what belongs to it as the server has it"
        )
    return found


def _database(settings: Settings) -> Database:
    return existing(settings.database.url, settings.data_dir)


def _store(settings: Settings) -> BlobStore | None:
    files = settings.files
    if files.backend == "local" and not files.directory.is_dir():
        # Made anew it would be empty, and so look as if everything were removed.
        raise CommandError(f"the directory of contents {files.directory} is not there: is its disk mounted?")
    return open_blobs(settings)


def tell(found: Found) -> None:
    """Show what will be deleted."""
    one = found.figures
    if one is None:
        print(f"space {found.space} has no rows any more")
    else:
        kind = "shared" if one.shared else "personal"
        home = "here" if one.home is None else f"at {one.home}; what is kept here is deleted, nothing there"
        print(f"space {found.space}, {kind}, created {one.created_at:%Y-%m-%d %H:%M}, home {home}")
        print(
            f"{counted(one.records, 'record')}, {counted(one.tombstones, 'tombstone')}, "
            f"{shown_bytes(one.record_bytes)}; "
            f"{_entries(one.members)}; {counted(one.revocations, 'revocation')}; cursor {one.cursor}"
        )
        print(f"{counted(one.files, 'file')}, {shown_bytes(one.file_bytes)}")
    print(
        f"{counted(found.contents, 'content')} in the file storage, {shown_bytes(found.content_bytes)}",
        flush=True,
    )


def _entries(count: int) -> str:
    return counted(count, "membership entry", "membership entries")


def confirm(space: UUID) -> None:
    """Ask to type the id.

    Raises:
        CommandError: something else was typed.
    """
    print(
        "This cannot be undone. Type the id of the space to delete it: ", end="", file=sys.stderr, flush=True
    )
    if parse_uuid(sys.stdin.readline().strip()) != space:
        raise CommandError("that is not its id: nothing was deleted")


def purge(settings: Settings, found: Found) -> None:
    """Delete it, and say what was.

    Raises:
        CommandError: something is left, which is named; the same command again removes it.
    """

    async def work(pool: PostgresPool) -> Removed:
        _tell_rows(await _rows(pool, found.space))
        blobs = _store(settings)
        if blobs is None:
            return Removed()
        try:
            return await remove_contents(pool, blobs, found.space)
        finally:
            await blobs.aclose()

    removed = work_on(_database(settings), work)
    print(f"removed {counted(removed.count, 'content')}")
    if removed.kept:
        print(f"uploaded anew meanwhile, and kept: {counted(removed.kept, 'content')}")
    if removed.failed:
        raise CommandError(
            f"could not remove {counted(removed.failed, 'content')}: the same command again tries once more",
            removed.failures,
        )


async def _rows(pool: PostgresPool, space: UUID) -> Purged | None:
    try:
        return await purge_space(pool, space)
    except StorageError as error:
        if error.sqlstate == LOCK_NOT_AVAILABLE:
            raise CommandError(f"space {space} was held by others for 10 s: nothing was deleted") from error
        raise


def _tell_rows(gone: Purged | None) -> None:
    if gone is not None:
        print(
            f"deleted {counted(gone.records, 'record')}, {counted(gone.files, 'file')}, "
            f"{_entries(gone.members)}, {counted(gone.revocations, 'revocation')} and the space",
            flush=True,
        )


async def remove_contents(pool: PostgresPool, blobs: BlobStore, space: UUID) -> Removed:
    """Remove the contents of a space that no row names.

    Safe under concurrency: each is looked at under its file's lock. An upload that was on its way when the
    rows went finds no space, or no record, and removes its content itself.

    Raises:
        StorageError: the contents could not be listed.
    """
    removals = Removals(PostgresFileStore(pool), blobs)
    removed = await _pass(removals, blobs, space)
    # A directory that is emptied while it is read may leave names out, so the last look is one that removes
    # nothing.
    for _ in range(PASSES_MAX):
        again = await _pass(removals, blobs, space)
        removed = replace(again, count=removed.count + again.count)
        if not again.count:
            break
    return removed


async def _pass(removals: Removals, blobs: BlobStore, space: UUID) -> Removed:
    removed = Removed()
    async for page in blobs.of_space(space):
        for one in page:
            try:
                gone = await removals.remove(one.key)
            except StorageError as error:
                removed.failed += 1
                if removed.failed <= FAILURES_NAMED_MAX:
                    told = isinstance(error, BlobError | HeldByBackup)
                    reason = str(error) if told else "the database failed"
                    removed.failures.append(f"{one.key.file}: {reason}")
            else:
                removed.count += gone
                removed.kept += not gone
    return removed
