"""Work that blocks on a disk, done off the event loop and never left half done."""

import asyncio
import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from less_sync.storage.blobs import BlobError

P = ParamSpec("P")
T = TypeVar("T")

DISK_THREADS: Final = 8
"""At most 4 contents are published at once (`FileStore.lock`), and syncing one may take seconds: as many
threads are left for those that read and write meanwhile."""
_TEXTS: Final = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
}


def disk_error(error: OSError) -> BlobError:
    """Word a failure of the disk for the operator; `error` becomes its cause."""
    text = _TEXTS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    translated = BlobError(f"file storage: {text}")
    translated.__cause__ = error
    return translated


async def ended(*work: "asyncio.Future[Any]") -> None:
    """Wait until all of this has ended, well or not. When cancelled meanwhile, give way afterwards.

    Cancelling does not reach the work: whoever goes on knows that it is over.
    """
    cancelled: asyncio.CancelledError | None = None
    for one in work:
        while not one.done():
            try:
                await asyncio.wait({one})
            except asyncio.CancelledError as error:
                cancelled = error
        if not one.cancelled():
            one.exception()  # seen, so that nobody reports it as forgotten
    if cancelled is not None:
        raise cancelled


async def settled(work: "asyncio.Future[T]") -> T:
    """Wait as `ended` does, and return what came out.

    Raises:
        BlobError: the disk failed.
    """
    await ended(work)
    try:
        return work.result()
    except OSError as error:
        raise disk_error(error) from error


class DiskThreads:
    """A few threads of one store's own, so that a slow disk holds up nothing else."""

    def __init__(self) -> None:
        self._executor: Final = ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="less-sync-files")

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        """Begin `work`; the outcome is to be awaited with `settled`, and with nothing that cancels it."""
        return asyncio.wrap_future(self._executor.submit(work, *args, **kwargs))

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` and wait for it, as `settled` does."""
        return await settled(self.submit(work, *args, **kwargs))

    async def obtain(self, make: Callable[[], T], release: Callable[[T], None]) -> T:
        """Return what `make` opens; when cancelled before anybody has it, `release` it again."""
        making = self.submit(make)
        try:
            return await settled(making)
        except asyncio.CancelledError:
            if making.exception() is None:
                await ended(self.submit(release, making.result()))
            raise

    async def aclose(self) -> None:
        """End the threads once they have done what was submitted."""
        await settled(asyncio.ensure_future(asyncio.to_thread(self._executor.shutdown)))


def sync_directory(path: Path) -> None:
    """Let the names in a directory survive a power cut."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
