"""The embedded Postgres of a data directory, moved to another major version by way of a backup.

The programs of the old version are gone, so the old cluster is never started. The state is written down
(bins/postgres/moving.py), the old cluster renamed, a new one made, the backup restored into it, the state
removed: a step that was done before a kill is found done by the next run.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from less_sync.bins.backup.load import Outcome, Wanted, restore
from less_sync.bins.backup.watching import Progress
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres import moving
from less_sync.bins.postgres.embedded import EmbeddedPostgres, major_version
from less_sync.bins.postgres.files import (
    EmbeddedPostgresError,
    forget_stale_pid_file,
    hold_data_directory,
    postgres_is_gone,
    refuse_root_of_others,
    refused,
)
from less_sync.bins.postgres.moving import Moving
from less_sync.storage import BlobStore

STOP_S_MAX: Final = 10.0
"""How long after a backup its own Postgres may take to stop, and to write that down."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What is to be moved, and what may be lost by it."""

    data_dir: Path
    wanted: Wanted
    store: AbstractAsyncContextManager[BlobStore | None]
    """Opened once the cluster is moved: until then nothing is made."""
    force: bool
    """Although the cluster was used after the backup, is of this version, or another move was begun."""

    @property
    def cluster(self) -> Path:
        """Where the cluster lies that a server uses."""
        return self.data_dir / "postgres"


async def upgrade(what: Upgrade, progress: Progress) -> tuple[Outcome, Path]:
    """Move the cluster and return how the restore ended, and where the old one lies. The backup was checked.

    Raises:
        EmbeddedPostgresError: the directory is in use or cannot be written, or the new Postgres does not run.
        CommandError: refused; nothing has changed then. Or as `restore`.
    """
    if not what.data_dir.is_dir():
        raise CommandError(f"there is no data directory {what.data_dir}")
    refuse_root_of_others(what.data_dir)
    with hold_data_directory(what.data_dir):
        try:
            aside = what.data_dir / _moved_aside(what).aside
        except OSError as error:
            raise refused(error, f"move {what.cluster} aside") from error
    async with EmbeddedPostgres(what.data_dir, moving=True) as postgres, what.store as store:
        # Nobody but this command has used the new cluster; contents may be newer than the backup.
        wanted = replace(what.wanted, force=True, keep_others=True)
        outcome = await restore(postgres.url, store, wanted, progress)
    try:
        moving.finish(what.data_dir)
    except OSError as error:
        raise refused(error, f"remove {what.data_dir / moving.STATE}") from error
    return outcome, aside


def _moved_aside(what: Upgrade) -> Moving:
    """Do the first two steps, as far as they are not done."""
    if not postgres_is_gone(what.data_dir):
        raise EmbeddedPostgresError(
            f"a Postgres is running on {what.data_dir}, left by a server: stop it first"
        )
    digest, state = what.wanted.manifest.digest, moving.moving(what.data_dir)
    if state is None:
        _check_cluster(what)
        state = moving.begin(what.data_dir, digest, now=datetime.now(UTC))
    elif state.digest != digest:
        _check_other(what, state)
        state = moving.keep(what.data_dir, Moving(digest, state.aside))
    moving.move_aside(what.data_dir, state)
    return state


def _check_cluster(what: Upgrade) -> None:
    if not EmbeddedPostgres.exists(what.data_dir):
        raise CommandError(
            f"{what.cluster} is no Postgres cluster: `less-sync restore` restores into a new data directory"
        )
    forget_stale_pid_file(what.cluster)
    version = (what.cluster / "PG_VERSION").read_text("ascii").strip()
    if version == major_version() and not what.force:
        raise CommandError(f"{what.cluster} is of Postgres {version} already: there is nothing to upgrade")
    _check_backup(what, what.cluster)


def _check_other(what: Upgrade, state: Moving) -> None:
    if not what.force:
        raise CommandError(
            f"a move with another backup ({state.digest[:12]}) has not finished: finish it with that one, or "
            "give it up for this one with --force"
        )
    aside = what.data_dir / state.aside
    _check_backup(what, aside if aside.exists() else what.cluster)


def _check_backup(what: Upgrade, cluster: Path) -> None:
    """See that the backup is one of this cluster, and that nobody used the cluster after it."""
    manifest = what.wanted.manifest
    if manifest.database.system_identifier != moving.system_identifier(cluster):
        raise CommandError(
            f"the backup is of another database than {cluster}: `less-sync restore` restores it elsewhere"
        )
    finished, stopped = datetime.fromisoformat(manifest.finished_at), moving.last_stopped(cluster)
    if stopped > finished + timedelta(seconds=STOP_S_MAX) and not what.force:
        raise CommandError(
            f"the cluster was in use until {stopped:%Y-%m-%d %H:%M:%S} UTC and the backup is of "
            f"{finished.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: what was written in between is not in it",
            ["stop the server, then make a backup with the older less-sync; --force goes on without"],
        )
