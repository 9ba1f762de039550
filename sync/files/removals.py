"""Removing contents that no row needs any more: those of files whose record was deleted (docs/files.md 3.3).

A push that writes tombstones deletes the rows of their files in its own transaction, and hands the contents
over here once it is committed. What is lost of them by a crash is found by the sweep.
"""

import asyncio
import heapq
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog

from less_sync.storage import BlobKey, BlobStore, FileStore, StorageError

PAUSES_S: Final = (1.0, 5.0, 25.0)
"""Between attempts to remove one content."""
BACKUP_PAUSE_S: Final = 30.0
"""Before the queue asks again whether a backup is still under way: one question, however long the queue."""
PENDING_MAX: Final = 100_000
"""Contents that wait to be removed. What comes beyond is left to the sweep."""
REMOVALS_AT_ONCE: Final = 2

_SERVER: Final = "\x00removals"
"""Under whose name the locks of files are asked for: no person's."""

_log = structlog.get_logger(__name__)


class HeldByBackup(StorageError):
    """A backup is under way, and the content has to stay as it is until that has ended."""

    def __init__(self, message: str = "a backup is under way") -> None:
        super().__init__(message)


class Removals:
    """Runs on one event loop; nothing is awaited by whoever hands over.

    Args:
        pauses_s: how long to wait after each attempt that failed; as many attempts follow.
        backup_pause_s: how long all wait once a backup was found under way, which is no failed attempt.
    """

    def __init__(
        self,
        files: FileStore,
        blobs: BlobStore,
        *,
        pauses_s: Sequence[float] = PAUSES_S,
        backup_pause_s: float = BACKUP_PAUSE_S,
    ) -> None:
        self._files = files
        self._blobs = blobs
        self._pauses_s = pauses_s
        self._backup_pause_s = backup_pause_s
        self._held_until_s = 0.0
        self._due: list[tuple[float, int, BlobKey, int]] = []
        """A heap: when, in order of arrival, what, and how often it was tried."""
        self._tickets = 0
        self._under_way = 0
        self._workers: dict[asyncio.Task[None], None] = {}
        self._news = asyncio.Event()
        self._closed = False

    @property
    def pending(self) -> int:
        """How many contents are still to be removed."""
        return len(self._due) + self._under_way

    def add(self, space: UUID, files: Iterable[UUID]) -> None:
        """Remove the contents of these files as soon as that is possible."""
        left_out = 0
        for file in files:
            if self._closed or self.pending >= PENDING_MAX:
                left_out += 1
            else:
                self._push(0.0, BlobKey(space, file), 0)
        if left_out:
            _log.warning("contents left to the sweep", space=str(space), count=left_out)
        self._wake()

    async def remove(self, key: BlobKey) -> bool:
        """Remove a content unless there is a row for it, which may have come meanwhile; then False.

        Safe under concurrency: the file's lock keeps every upload of it out between the look and the removal.

        Raises:
            HeldByBackup: it is still there, and stays until the backup that is under way has ended.
            StorageError: the database or the store failed; whether it is gone is unknown.
        """
        async with self._files.lock(*key, user=_SERVER) as lock:
            if lock.row is not None:
                return False
            if lock.held_by_backup:
                raise HeldByBackup
            await self._blobs.remove(key)
            return True

    async def remove_soon(self, key: BlobKey) -> None:
        """Remove a content now, or later if that fails."""
        try:
            await self.remove(key)
        except StorageError:
            self.add(key.space, [key.file])

    def _push(self, due_s: float, key: BlobKey, attempt: int) -> None:
        self._tickets += 1
        heapq.heappush(self._due, (due_s, self._tickets, key, attempt))

    def _wake(self) -> None:
        self._news.set()
        if self._due and len(self._workers) < REMOVALS_AT_ONCE:
            worker = asyncio.get_running_loop().create_task(self._work(), name="removals")
            self._workers[worker] = None

    async def _work(self) -> None:
        """Remove what is due until nothing is left."""
        try:
            while self._due:
                due_s, _, key, attempt = self._due[0]
                wait_s = max(due_s, self._held_until_s) - asyncio.get_running_loop().time()
                if wait_s > 0:
                    if self._closed:  # nothing is left but what a backup holds
                        break
                    await self._until_news(wait_s)
                    continue
                heapq.heappop(self._due)
                self._under_way += 1
                try:
                    await self._try(key, attempt)
                finally:
                    self._under_way -= 1
        finally:
            # Nothing is awaited between the last look at the heap and here: whoever adds finds a place free.
            worker = asyncio.current_task()
            if worker is not None:
                self._workers.pop(worker, None)

    async def _until_news(self, wait_s: float) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()

    async def _try(self, key: BlobKey, attempt: int) -> None:
        try:
            await self.remove(key)
        except HeldByBackup:
            self._held_until_s = asyncio.get_running_loop().time() + self._backup_pause_s
            self._push(0.0, key, attempt)
        except Exception as error:
            if attempt < len(self._pauses_s) and not self._closed:
                self._push(asyncio.get_running_loop().time() + self._pauses_s[attempt], key, attempt + 1)
                return
            _log.warning(
                "content could not be removed", space=str(key.space), file=str(key.file), error=str(error)
            )

    async def aclose(self, timeout_s: float) -> None:
        """Remove what can be removed within `timeout_s`, without waiting for anything else; then stop."""
        self._closed = True
        self._held_until_s = 0.0  # to be asked once more
        self._due = [(0.0, number, key, attempt) for _, number, key, attempt in self._due]
        heapq.heapify(self._due)
        self._wake()
        workers = list(self._workers)
        if workers:
            await asyncio.wait(workers, timeout=timeout_s)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        if self.pending:
            _log.warning("contents left to the sweep", count=self.pending)
            self._due.clear()
