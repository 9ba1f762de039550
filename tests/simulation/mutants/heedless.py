"""Contents that are removed, and replaced, while a backup is under way."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from tests.simulation.parts import Parts
from tests.simulation.system import FileLock, FileLook, FileStore, Removals, Services, Uploads


class _HeedlessLock:
    def __init__(self, lock: FileLock) -> None:
        self.row: Final = lock.row
        self.held_by_backup: Final = False
        self.check: Final = lock.check
        self.record: Final = lock.record
        self.forget: Final = lock.forget


class _HeedlessStore:
    """Rows of files, whose locks never tell of a backup."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self.known: Final = store.known

    async def look(
        self, space: UUID, file: UUID, *, cids: Sequence[str] = (), record: UUID | None = None
    ) -> FileLook:
        return await self._store.look(space, file, cids=cids, record=record)

    @asynccontextmanager
    async def lock(self, space: UUID, file: UUID, *, user: str) -> AsyncIterator[FileLock]:
        async with self._store.lock(space, file, user=user) as lock:
            yield _HeedlessLock(lock)


def _ignore(services: Services) -> None:
    assert services.files is not None
    files = services.files
    store = _HeedlessStore(files.store)
    files.removals = Removals(store, files.blobs)
    frame_bytes = services.limits.outbound_frame_bytes
    files.uploads = Uploads(
        store, files.blobs, files.removals, services.announce, frame_bytes_max=frame_bytes
    )


PARTS: Final = Parts(alter=_ignore)
