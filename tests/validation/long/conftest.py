"""Scratch, made once a session: a backup of what a real server was told, and runs that restore it."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from less_sync.migrations import Loss, load, losses
from less_sync.validation.scratch import Scratch
from tests.conftest import DatabaseServer
from tests.validation.release import Release, another_release
from tests.validation.scratches import LESS_SYNC, backed_up, living, plan


@pytest.fixture(scope="session")
async def made_backup(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a backup of six people's spaces, with files and members. Copy it, do not edit it."""
    folder = tmp_path_factory.mktemp("backups")
    async with Scratch(plan(folder, database_url=database_server.url)) as scratch:
        async with living(scratch) as copy:
            await backed_up(scratch, copy, folder / "backup")
    return folder / "backup"


@pytest.fixture(scope="session")
async def session_scratch(
    database_server: DatabaseServer, made_backup: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Scratch]:
    """Of the backup, with this checkout as the candidate and as the incumbent."""
    folder = tmp_path_factory.mktemp("scratch")
    made = plan(folder, backup=made_backup, database_url=database_server.url, incumbent=(*LESS_SYNC, "serve"))
    async with Scratch(made) as scratch:
        yield scratch


@dataclass(slots=True)
class Newer:
    """A newer release as the candidate, with one more migration, and this checkout as the incumbent."""

    release: Release
    scratch: Scratch
    losses: dict[int, Loss]
    facts: dict[str, object] = field(default_factory=dict)
    """Of runs: what the incumbent knows is asked once."""


@pytest.fixture(scope="session")
async def session_newer(
    database_server: DatabaseServer, made_backup: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Newer]:
    """See `newer`."""
    folder = tmp_path_factory.mktemp("newer")
    release, listed = another_release(folder / "release"), dict(losses())
    version = release.with_migration()
    made = plan(
        folder,
        less_sync=release.words,
        backup=made_backup,
        database_url=database_server.url,
        incumbent=(*LESS_SYNC, "serve"),
        losses=listed,
        versions=(*load(), version),
        run_id=os.urandom(16),
    )
    async with Scratch(made) as scratch:
        yield Newer(release, scratch, listed)


@pytest.fixture
def newer(session_newer: Newer) -> Newer:
    """The newer release as it should be: its migration adds an index, and loses nothing."""
    version = session_newer.release.with_migration()
    session_newer.losses.clear()
    session_newer.losses.update(losses(session_newer.release.migrations))
    assert version in session_newer.losses
    return session_newer
