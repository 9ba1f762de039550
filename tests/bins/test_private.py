"""Whether the private Postgres of a data directory runs, asked while it is in any state."""

import errno
import socket
import tempfile
from pathlib import Path

from less_sync.bins.postgres.private import running_postgres


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
