"""The private Postgres of a data directory, for a command: a server may be using it meanwhile."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.bins.postgres.files import refuse_root_of_others

_SOCKET: Final = ".s.PGSQL.5432"


@asynccontextmanager
async def private_postgres(data_dir: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[str]:
    """The URL of the running server's Postgres, else of one that is started for the block, with `settings`.

    Raises:
        EmbeddedPostgresError: it cannot be started.
    """
    running = running_postgres(data_dir)
    if running is not None:
        yield running
        return
    refuse_root_of_others(data_dir)
    async with EmbeddedPostgres(data_dir, settings=settings) as postgres:
        yield postgres.url


def running_postgres(data_dir: Path) -> str | None:
    """The URL of the Postgres of a data directory, if it runs."""
    directory = (data_dir / "socket").resolve()
    # A machine that lost its power leaves the socket's file behind: what counts is whether somebody listens.
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A Postgres that hangs lets nobody in: once its queue is full, whoever waits would wait for ever.
        probe.setblocking(False)
        try:
            probe.connect(str(directory / _SOCKET))
        except BlockingIOError:
            pass  # somebody listens, and has no time
        except OSError:
            return None
    return f"postgresql://postgres@/postgres?host={quote(str(directory), safe='/')}&port=5432"
