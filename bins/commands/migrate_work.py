"""What the `migrate` command does once its line is read: needs the libraries of the server."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import assert_never

import typer

from less_sync import migrations
from less_sync.bins.amounts import columns
from less_sync.bins.commands.migrate import Asked, Command
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.files import refuse_root_of_others
from less_sync.bins.postgres.reach import told_with_place
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.bins.settings.config import data_directory, environment
from less_sync.bins.settings.fleet_schema import fleet_directory, read_fleet_schema
from less_sync.bins.settings.reader import SettingsReader
from less_sync.fleet.line import FleetLine
from less_sync.migrations import SYNC, Applied, DatabaseUnreachable, Line, MigrationError, Repaired, State


def work(command: Command, asked: Asked, *, fleet: bool) -> None:
    """Do `command` to the database that is meant, or write the scripts of a new migration.

    Raises:
        CommandError: there is no database, it cannot be reached, or it must not be changed; or the scripts
            cannot be written.
    """
    environ = environment()
    line = _fleet_line(environ) if fleet else SYNC
    try:
        if asked.name is not None:
            folder = asked.folder or line.folder
            for path in migrations.create(asked.name, folder=folder, own=line.folder, first=line.first):
                typer.echo(path)
        else:
            data_dir = data_directory(environ)
            asyncio.run(_run(command, asked, line, environ, fleet_directory(data_dir) if fleet else data_dir))
    except (MigrationError, EmbeddedPostgresError) as error:
        raise CommandError(str(error)) from error


def _fleet_line(environ: Mapping[str, str]) -> Line:
    reader = SettingsReader(environ)
    schema = read_fleet_schema(reader)
    if reader.problems:
        raise CommandError(reader.problems[0])
    return FleetLine(schema)


@asynccontextmanager
async def _database(url: str | None, data_dir: Path) -> AsyncIterator[str]:
    """The database meant: of the URL, else the private Postgres for as long as it is used.

    Not by `Settings`: migrating needs none of a server's other variables, and must work where they are unset
    or wrong.
    """
    if url is not None:
        try:
            yield driver_url(url)
        except DatabaseUrlError as error:
            raise CommandError(str(error)) from error
        return
    if not EmbeddedPostgres.exists(data_dir):
        raise MigrationError("DATABASE_URL is not set")
    refuse_root_of_others(data_dir)
    async with EmbeddedPostgres(data_dir) as postgres:
        yield postgres.url


async def _run(
    command: Command, asked: Asked, line: Line, environ: Mapping[str, str], data_dir: Path
) -> None:
    named = environ.get("DATABASE_URL") if asked.database_url is None else asked.database_url
    async with _database(named, data_dir) as url:
        try:
            await _on(url, line, command, yes=asked.yes, dry_run=asked.dry_run)
        except DatabaseUnreachable as error:
            raise CommandError(told_with_place(error, url)) from error


async def _on(url: str, line: Line, command: Command, *, yes: bool, dry_run: bool) -> None:
    match command:
        case Command.UP:
            await _up(url, line, dry_run=dry_run)
        case Command.DOWN:
            await _down(url, line, yes=yes, dry_run=dry_run)
        case Command.STATUS:
            await _status(url, line)
        case Command.VERSION:
            typer.echo(await migrations.version(url, line=line))
        case Command.REPAIR_CURSORS:
            await _repair_cursors(url, dry_run=dry_run)
        case Command.CREATE:
            raise AssertionError("create needs no database")
        case _:
            assert_never(command)


async def _up(url: str, line: Line, *, dry_run: bool) -> None:
    if dry_run:
        for state in await migrations.pending(url, line=line):
            _note(f"would apply {state.version:03d} {state.name}")
        typer.echo("dry run complete")
        return
    await migrations.migrate_up(url, line=line, on_applied=lambda done: _note(_done("applied", done)))
    typer.echo("migrations complete")


async def _down(url: str, line: Line, *, yes: bool, dry_run: bool) -> None:
    if dry_run:
        state = await migrations.revertible(url, line=line, confirmed=yes)
        _note(f"would revert {state.version:03d} {state.name}")
        typer.echo("dry run complete")
        return
    _note(_done("reverted", await migrations.migrate_down(url, line=line, confirmed=yes)))
    typer.echo("rollback complete")


async def _status(url: str, line: Line) -> None:
    for row in _table(await migrations.status(url, line=line)):
        typer.echo(row)
    if line is not SYNC:
        return
    missing = await migrations.cursorless(url)
    if missing:
        _note(
            f"{_rows(missing.members, missing.files)} without cursor; `migrate repair-cursors` gives them one"
        )


async def _repair_cursors(url: str, *, dry_run: bool) -> None:
    if dry_run:
        missing = await migrations.cursorless(url)
        _note(f"would repair {_rows(missing.members, missing.files)}")
        typer.echo("dry run complete")
        return
    await migrations.repair_cursors(url, on_repaired=_note_repaired)
    typer.echo("repair complete")


def _note_repaired(done: Repaired) -> None:
    _note(f"repaired {_rows(done.members, done.files)} of space {done.space}, now at cursor {done.cursor}")


def _note(line: str) -> None:
    """Progress and counts go to standard error; standard output is for scripts."""
    typer.echo(line, err=True)


def _done(verb: str, done: Applied) -> str:
    return f"{verb} {done.version:03d} {done.name} ({done.elapsed_ms} ms)"


def _rows(members: int, files: int) -> str:
    return f"{members} member entries and {files} files"


def _table(states: Sequence[State]) -> list[str]:
    """Columns separated by two spaces or more; times are RFC 3339 in UTC."""
    rows = [("VERSION", "NAME", "STATE", "APPLIED_AT")]
    for state in states:
        time = "-" if state.applied_at is None else f"{state.applied_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        rows.append((f"{state.version:03d}", state.name, "applied" if state.applied else "pending", time))
    return columns(rows)
