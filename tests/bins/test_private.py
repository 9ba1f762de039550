"""Whether the private Postgres of a data directory runs, asked while it is in any state."""

import errno
import os
import socket
import tempfile
from pathlib import Path

import pytest

from less_sync.bins.postgres.files import EmbeddedPostgresError
from less_sync.bins.postgres.private import private_postgres, running_postgres
from tests.bins.commands import run_less_sync

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
    told = f"{data_dir} belongs to #{SOMEBODY}, whose server could not use what root leaves there"
    if os.geteuid() == 0:
        os.chown(data_dir, SOMEBODY, SOMEBODY)
        for command in ("backup", "migrate", "stats"):
            finished = await run_less_sync(command, env={"DATA_DIR": str(data_dir)})
            assert (finished.status, told in finished.err) == (1, True)
    with pytest.raises(EmbeddedPostgresError) as caught:
        async with private_postgres(data_dir):
            pass
    assert (told in str(caught.value)) is (os.geteuid() == 0)
    assert {path.name for path in data_dir.iterdir()} == {"postgres"}
