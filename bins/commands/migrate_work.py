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
from less_sync.bins.commands.migrate import Command
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from less_sync.bins.postgres.files import refuse_root_of_others
from less_sync.bins.postgres.reach import told_with_place
from less_sync.bins.postgres.urls import DatabaseUrlError, driver_url
from less_sync.bins.settings.config import data_directory, environment
from less_sync.migrations import Applied, DatabaseUnreachable, MigrationError, Repaired, State


def create(name: str, folder: Path | None) -> None:
    """Write the two scripts of a new migration and print their paths.

    Raises:
        CommandError: they cannot be written.
    """
    try:
        paths = migrations.create(name) if folder is None else migrations.create(name, folder=folder)
    except MigrationError as error:
        raise CommandError(str(error)) from error
    for path in paths:
        typer.echo(path)


def work_on_database(command: Command, url: str | None, *, yes: bool, dry_run: bool) -> None:
    """Do whatever `command` says (all but `create`) to the database of `url`, or the one that is meant.

    Raises:
        CommandError: there is none, it cannot be reached, or it must not be changed.
    """
    try:
        asyncio.run(_run(command, url, yes=yes, dry_run=dry_run))
    except (MigrationError, EmbeddedPostgresError) as error:
        raise CommandError(str(error)) from error


@asynccontextmanager
async def _database(url: str | None, environ: Mapping[str, str]) -> AsyncIterator[str]:
    """The database meant: the option's, the environment's, or the private Postgres for as long as it is used.

    Not by `Settings`: migrating needs none of the server's other variables, and must work where they are
    unset or wrong.
    """
    url = environ.get("DATABASE_URL") if url is None else url
    if url is not None:
        try:
            yield driver_url(url)
        except DatabaseUrlError as error:
            raise CommandError(str(error)) from error
        return
    data_dir = data_directory(environ)
    if not EmbeddedPostgres.exists(data_dir):
        raise MigrationError("DATABASE_URL is not set")
    refuse_root_of_others(data_dir)
    async with EmbeddedPostgres(data_dir) as postgres:
        yield postgres.url


async def _run(command: Command, database_url: str | None, *, yes: bool, dry_run: bool) -> None:
    async with _database(database_url, environment()) as url:
        try:
            await _on(url, command, yes=yes, dry_run=dry_run)
        except DatabaseUnreachable as error:
            raise CommandError(told_with_place(error, url)) from error


async def _on(url: str, command: Command, *, yes: bool, dry_run: bool) -> None:
    match command:
        case Command.UP:
            await _up(url, dry_run=dry_run)
        case Command.DOWN:
            await _down(url, yes=yes, dry_run=dry_run)
        case Command.STATUS:
            await _status(url)
        case Command.VERSION:
            typer.echo(await migrations.version(url))
        case Command.REPAIR_CURSORS:
            await _repair_cursors(url, dry_run=dry_run)
        case Command.CREATE:
            raise AssertionError("create needs no database")
        case _:
            assert_never(command)


async def _up(url: str, *, dry_run: bool) -> None:
    if dry_run:
        for state in await migrations.pending(url):
            _note(f"would apply {state.version:03d} {state.name}")
        typer.echo("dry run complete")
        return
    await migrations.migrate_up(url, on_applied=lambda done: _note(_done("applied", done)))
    typer.echo("migrations complete")


async def _down(url: str, *, yes: bool, dry_run: bool) -> None:
    if dry_run:
        state = await migrations.revertible(url, confirmed=yes)
        _note(f"would revert {state.version:03d} {state.name}")
        typer.echo("dry run complete")
        return
    _note(_done("reverted", await migrations.migrate_down(url, confirmed=yes)))
    typer.echo("rollback complete")


async def _status(url: str) -> None:
    for line in _table(await migrations.status(url)):
        typer.echo(line)
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
