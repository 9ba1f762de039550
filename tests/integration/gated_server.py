"""The real server, which stops at a chosen step of every upload and says so: to be killed there.

Started as `python -m tests.integration.gated_server STEP` with the settings as its variables. It prints
`listening PORT`, and `reached` when an upload has come to the step.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from less_sync.bins.server import serve
from less_sync.bins.services import Opened, open_services
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.storage import Caller, FileLock, FileLook, FileRow, FileStore, RecordFileOutcome
from less_sync.storage.stores import NOBODY
from less_sync.sync.files.space_files import SpaceFiles
from tests.wire.command import kept_variables

PUBLISHED: Final = "published"
"""The content shows, and its row is not written."""
COMMITTED: Final = "committed"
"""The row is committed, and nobody knows yet."""
TIMEOUT_S: Final = 60.0


class _StoppingLock:
    """A file's lock that never comes back from one step of `record`."""

    def __init__(self, lock: FileLock, step: str) -> None:
        self._lock: Final = lock
        self._step: Final = step
        self.check: Final = lock.check
        self.forget: Final = lock.forget

    @property
    def row(self) -> FileRow | None:
        return self._lock.row

    @property
    def held_by_backup(self) -> bool:
        return self._lock.held_by_backup

    async def record(
        self, record: UUID, size_bytes: int, wrapped_dek: bytes, *, replace: bool, caller: Caller = NOBODY
    ) -> RecordFileOutcome:
        if self._step == PUBLISHED:
            await _stop()
        outcome = await self._lock.record(record, size_bytes, wrapped_dek, replace=replace, caller=caller)
        if self._step == COMMITTED:
            await _stop()
        return outcome


async def _stop() -> None:
    print("reached", flush=True)
    await asyncio.Event().wait()


class _StoppingStore:
    """Rows of files, whose locks stop."""

    def __init__(self, store: FileStore, step: str) -> None:
        self._store: Final = store
        self._step: Final = step
        self.known: Final = store.known

    async def look(
        self, space: UUID, file: UUID, *, cids: Sequence[str] = (), record: UUID | None = None
    ) -> FileLook:
        return await self._store.look(space, file, cids=cids, record=record)

    @asynccontextmanager
    async def lock(self, space: UUID, file: UUID, *, user: str) -> AsyncIterator[FileLock]:
        async with self._store.lock(space, file, user=user) as lock:
            yield _StoppingLock(lock, self._step)


class GatedServer:
    """That process."""

    def __init__(self, step: str, settings: Mapping[str, str]) -> None:
        self._step: Final = step
        self._settings: Final = settings

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.gated_server", self._step),
            cwd=Path(__file__).parents[2],
            env={**kept_variables(), **self._settings, "LISTEN_ADDR": "127.0.0.1:0"},
            stdout=asyncio.subprocess.PIPE,
        )
        self.port = int((await self._line("listening ")).split()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    async def reached(self) -> None:
        """Return when an upload has come to the step."""
        await self._line("reached")

    async def kill(self) -> None:
        """`kill -9`, and wait until the kernel has collected it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def _line(self, beginning: str) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            while read := await self._process.stdout.readline():
                if (line := read.decode()).startswith(beginning):
                    return line
        raise AssertionError("the server ended")


async def _serve(step: str) -> None:
    async def open_stopping(settings: Settings, url: str, stack: AsyncExitStack, vital: Supervisor) -> Opened:
        opened = await open_services(settings, url, stack, vital)
        services = opened.services
        real = services.files
        assert real is not None
        store = _StoppingStore(real.store, step)
        services.files = SpaceFiles(store, real.blobs, services.announce, services.limits)
        return opened

    def listening(address: ListenAddress) -> None:
        print("listening", address.port, flush=True)

    settings = Settings.from_env(os.environ)
    await serve(settings, listening, asyncio.Event(), open_services=open_stopping)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
