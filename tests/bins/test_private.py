"""Whether the private Postgres of a data directory runs, asked while it is in any state."""

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from less_sync.bins.backup.last import read_last_backup
from less_sync.bins.doctor.host import look_at_backup
from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.bins.postgres.files import EmbeddedPostgresError, refuse_root_of_others
from less_sync.bins.postgres.private import private_postgres, running_postgres
from tests.bins.commands import run_less_sync
from tests.bins.doctor.support import WARNING

NOBODY = 65_534
SOMEBODY = 4_000_000_000
"""A user that no system has in its list."""


def test_a_postgres_that_hangs_while_many_knock_runs_and_holds_up_nobody() -> None:
    with (
        # Paths of sockets are short, and those of tests are not.
        tempfile.TemporaryDirectory() as directory,
        socket.socket(socket.AF_UNIX) as hung,
        socket.socket(socket.AF_UNIX) as first,
    ):
        place = Path(directory, "socket")
        assert running_postgres(Path(directory)) is None
        place.mkdir()
        address = str(place / ".s.PGSQL.5432")
        hung.bind(address)
        assert running_postgres(Path(directory)) is None
        hung.listen(0)
        first.connect(address)
        with socket.socket(socket.AF_UNIX) as second:
            second.setblocking(False)
            assert second.connect_ex(address) == errno.EAGAIN
        assert str(place.resolve()) in (running_postgres(Path(directory)) or "")


async def test_root_leaves_nothing_in_the_directory_of_another_user(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("18\n")
    refuse_root_of_others(data_dir)
    if os.geteuid() == 0:
        os.chown(data_dir, SOMEBODY, SOMEBODY)
        told = f"{data_dir} belongs to #{SOMEBODY}, whose server could not use what root leaves there"
        for command in ("backup", "migrate", "stats"):
            finished = await run_less_sync(command, env={"DATA_DIR": str(data_dir)})
            assert (finished.status, told in finished.err) == (1, True)
    assert {path.name for path in data_dir.iterdir()} == {"postgres"}


@contextmanager
def shut(directory: Path) -> Iterator[None]:
    """A directory that we may not look into. Root may look into all, so it is somebody else meanwhile."""
    directory.chmod(0o000)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        directory.chmod(0o700)


async def test_whoever_may_not_look_into_the_data_directory_is_told_so(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    assert not EmbeddedPostgres.exists(data_dir)
    assert read_last_backup(data_dir) is None
    with shut(data_dir):
        assert EmbeddedPostgres.exists(data_dir)
        with pytest.raises(
            EmbeddedPostgresError, match=r"^cannot use the data directory .* Permission denied"
        ):
            async with private_postgres(data_dir):
                pass
        [found] = await look_at_backup(data_dir, 0.0)
    assert (found.state, found.found) == (WARNING, f"{data_dir / 'last-backup.json'}: permission denied")
