"""The embedded Postgres, kept running for as long as the server does."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError

RESTART_PAUSE_S: Final = 1.0
RESTART_PAUSE_MAX_S: Final = 30.0

_log = structlog.get_logger(__name__)


class OwnPostgres:
    """Starts the Postgres of a data directory, and starts it again when it ends by itself.

    It comes back at the same URL, so the pool reconnects; until then requests fail as with any database
    that is away. Raises on entering as `EmbeddedPostgres` does.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._stack = AsyncExitStack()
        self.url = ""

    async def __aenter__(self) -> Self:
        postgres = await self._stack.enter_async_context(EmbeddedPostgres(self._data_dir))
        self.url = postgres.url
        self._keeper = asyncio.create_task(self._keep(postgres), name="embedded Postgres")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeper.cancel()
        await asyncio.wait({self._keeper})
        await self._stack.aclose()

    async def _keep(self, postgres: EmbeddedPostgres) -> None:
        while True:
            status = await postgres.wait()
            _log.error("the embedded Postgres has ended and is started again", status=status)
            await self._stack.aclose()
            postgres = await self._restarted()

    async def _restarted(self) -> EmbeddedPostgres:
        pause_s = RESTART_PAUSE_S
        while True:
            try:
                postgres = await self._stack.enter_async_context(EmbeddedPostgres(self._data_dir))
            except EmbeddedPostgresError as error:
                _log.error("the embedded Postgres does not start", reason=str(error))
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, RESTART_PAUSE_MAX_S)
                continue
            if postgres.url != self.url:
                # Only where the data directory's path is too long for a socket in it.
                _log.error("the embedded Postgres has moved: restart the server to reach it")
            return postgres
