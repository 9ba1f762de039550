"""Contents of files: there, and as long as their rows say (docs/validation.md 6.4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from less_sync.migrations import Connection
from less_sync.validation.contents import Contents, Directory, contents_of
from less_sync.validation.context import Context
from less_sync.validation.matrix import NO_TARGET
from less_sync.validation.procedure import Looser, Parameter, Procedure, Same
from less_sync.validation.scratch_databases import connected

_FILES: Final = """
SELECT space_id, id, size FROM files WHERE NOT deleted AND (space_id, id) >= ($1, $2)
ORDER BY space_id, id LIMIT $3"""
"""From a place on: a range of the key, so that no large table is read whole."""


async def objects(context: Context) -> None:
    """Sampled rows have content of the recorded size; contents are not read."""
    async with _looked_at(context) as (connection, contents):
        rows = await _sampled(context, connection)
        missing = sizes = 0
        for space, file, size_bytes in rows:
            found = await contents.size_bytes(space, file)
            missing += found is None
            sizes += found is not None and found != size_bytes
            context.measured.same("objects", size_bytes, found, "missing" if found is None else "size")
    if not rows:
        await _none(context)
    context.measured.number("objects", len(rows))
    context.evidence.statement(_FILES, f"{len(rows)} rows")
    context.say(f"{len(rows)} files: {missing} without content, {sizes} of another size")


async def _none(context: Context) -> None:
    """No row of a file: right if the backup has no content either, as of somebody who stores no files."""
    context.measured.no_samples("objects")
    if context.run.kind == "selfhost":
        backup = await context.run.scratch.backup()
        context.measured.same("objects", 0, backup.manifest.contents.count, "rows-missing")


@asynccontextmanager
async def _looked_at(context: Context) -> AsyncIterator[tuple[Connection, Contents]]:
    """Rows and contents: restored ones where the run restores, else production's."""
    if context.check.target == NO_TARGET and context.run.kind == "selfhost":
        restored = await context.run.scratch.restored(context.say)
        async with connected(restored.url) as connection:
            yield connection, Directory(restored.files)
        return
    async with contents_of(context.run.inputs.environment) as contents:
        async with context.target_named("production").database(context) as connection:
            yield connection, contents


async def _sampled(context: Context, connection: Connection) -> list[tuple[UUID, UUID, int]]:
    count, place = context.number("files"), (context.stream.uuid(), context.stream.uuid())
    rows = [tuple(row) for row in await connection.fetch(_FILES, *place, count)]
    if len(rows) < count:
        nil = UUID(int=0)
        more = [tuple(row) for row in await connection.fetch(_FILES, nil, nil, count)]
        rows += [row for row in more if row not in rows][: count - len(rows)]
    return [(space, file, size) for space, file, size in rows]


PROCEDURES: Final = (
    Procedure(
        "objects",
        "database",
        objects,
        "files have content of the size that their rows say",
        (Same("objects"),),
        parameters={"files": Parameter(200, Looser.DOWN)},
        timeout_s=60,
        exclusive=("scratch",),
        feature="files",
    ),
)
