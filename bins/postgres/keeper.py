"""The embedded Postgres, kept running for as long as the server does, within reason."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

import structlog

from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

PAUSES_S: Final = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0)
"""Before each attempt to start it again. When none of them helped it is given up."""
LASTING_S: Final = 60.0
"""One that ran for so long has recovered: its end is the first one again."""

_log = structlog.get_logger(__name__)


class Postgres(Protocol):
    """A running one."""

    @property
    def url(self) -> str:
        """Where it answers."""

    async def wait(self) -> int:
        """Wait for its end and return its exit status."""


Start = Callable[[Path], AbstractAsyncContextManager[Postgres]]


class Pace(NamedTuple):
    """When to try again, and what time it is (monotonic seconds)."""

    pauses_s: tuple[float, ...] = PAUSES_S
    lasting_s: float = LASTING_S
    clock: Callable[[], float] = time.monotonic


class OwnPostgres:
    """Starts the Postgres of a data directory; `keep` starts it again when it ends by itself.

    It comes back at the same URL, so the pool reconnects; until then requests fail as with any database
    that is away. Raises on entering as `EmbeddedPostgres` does.
    """

    def __init__(self, data_dir: Path, *, start: Start = EmbeddedPostgres, pace: Pace | None = None) -> None:
        self._data_dir = data_dir
        self._start = start
        self._pace = pace or Pace()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._postgres = await self._stack.enter_async_context(self._start(self._data_dir))
        self._cluster = _identity(self._data_dir)
        self.url = self._postgres.url
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def keep(self) -> None:
        """Start Postgres again whenever it ends. Cancel this before leaving.

        Raises:
            EmbeddedPostgresError: it does not stay, its data directory is gone, or it came back elsewhere.
        """
        attempts = 0
        while True:
            began_s = self._pace.clock()
            status = await self._postgres.wait()
            if self._pace.clock() - began_s >= self._pace.lasting_s:
                attempts = 0
            _log.error("the embedded Postgres has ended and is started again", status=status)
            await self._stack.aclose()
            attempts = await self._restart(attempts, f"it ended with status {status}")

    async def _restart(self, attempts: int, reason: str) -> int:
        """Start it again and return how many attempts were made since one that lasted."""
        for pause_s in self._pace.pauses_s[attempts:]:
            await asyncio.sleep(pause_s)
            attempts += 1
            self._check_directory()
            try:
                self._postgres = await self._stack.enter_async_context(self._start(self._data_dir))
            except EmbeddedPostgresError as error:
                reason = str(error)
                _log.error("the embedded Postgres does not start", reason=reason)
                continue
            if self._postgres.url != self.url:
                # Only where the data directory's path is too long for a socket in it.
                raise EmbeddedPostgresError(
                    "the embedded Postgres came back at another address; start the server again"
                )
            return attempts
        raise EmbeddedPostgresError(
            f"the embedded Postgres of {self._data_dir} is given up after {attempts} attempts: {reason}"
        )

    def _check_directory(self) -> None:
        """Where there is no cluster a start makes an empty one, and clients would take all for deleted."""
        if _identity(self._data_dir) != self._cluster:
            raise EmbeddedPostgresError(
                f"the data directory {self._data_dir} was moved away or replaced while the server ran; "
                "put it back and start the server again"
            )


def _identity(data_dir: Path) -> tuple[int, int] | None:
    """Which directory it is that lies there as the cluster, whatever its name."""
    try:
        found = (data_dir / "postgres").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
