"""Contents of a backup, put into the store of a server: a directory or a bucket."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from less_sync.bins.backup.contents import MISSING
from less_sync.bins.backup.manifest import FileEntry, Manifest, content_files
from less_sync.bins.backup.reading import (
    Tally,
    content_key,
    content_path,
    damaged,
    pieces,
)
from less_sync.bins.backup.watching import Doing, Progress
from less_sync.bins.errors import CommandError
from less_sync.storage import BlobKey, BlobStore, Stored

CONTENTS_AT_ONCE_MAX: Final = 4
"""As many as a server publishes at once."""


@dataclass(slots=True)
class Copied:
    """What became of the contents."""

    written: int = 0
    kept: int = 0
    """Were there already, byte for byte."""
    removed: int = 0
    """Were none of the backup's."""


async def holds_any(store: BlobStore) -> bool:
    """Whether there is a content in the store.

    Raises:
        BlobError: it cannot tell.
    """
    listing = store.listing()
    try:
        async for some in listing:
            if some:
                return True
        return False
    finally:
        await _close(listing)


async def _close(listing: AsyncIterator[object]) -> None:
    """Let go of what a listing has open."""
    with suppress(AttributeError):
        await listing.aclose()  # type: ignore[attr-defined]  # a generator in every store there is


class ContentLoader:
    """Brings a store to what a backup holds.

    Args:
        replace: contents that differ are replaced; otherwise one is an error.
        remove_others: contents that the backup does not have are removed.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, store: BlobStore, *, replace: bool, remove_others: bool
    ) -> None:
        self._folder = folder
        self._entries: Mapping[BlobKey, FileEntry] = {
            content_key(entry): entry for entry in content_files(manifest)
        }
        self._unsaved = {fault.path for fault in manifest.faults if fault.fault == MISSING}
        self._created_at = datetime.fromisoformat(manifest.created_at)
        self._store = store
        self._replace = replace
        self._remove_others = remove_others
        self._copied = Copied()

    async def refuse_different(self, progress: Progress) -> None:
        """See, before anything is changed, that no content is to be replaced that must not be.

        Raises:
            BlobError: the store failed.
            CommandError: one differs, and is not to be replaced.
        """
        if not self._replace:
            progress.begin(Doing.CHECKING, sum(entry.bytes for entry in self._entries.values()))
            todo = iter(self._entries.items())
            await _together(self._look(todo, progress) for _ in range(CONTENTS_AT_ONCE_MAX))

    async def _look(self, todo: Iterable[tuple[BlobKey, FileEntry]], progress: Progress) -> None:
        for key, entry in todo:
            await self._is_there(key, entry)
            progress.advance(entry.bytes)

    async def load(self, progress: Progress) -> Copied:
        """Copy what is missing or differs, a few at once. What is there is read to compare it.

        Raises:
            BlobError: the store failed.
            BackupError: a file of the backup changed since it was checked.
            CommandError: a content differs, and is not to be replaced.
        """
        progress.begin(Doing.CONTENTS, sum(entry.bytes for entry in self._entries.values()))
        todo = iter(self._entries.items())
        await _together(self._work(todo, progress) for _ in range(CONTENTS_AT_ONCE_MAX))
        if self._remove_others:
            await self._remove()
        return self._copied

    async def _work(self, todo: Iterable[tuple[BlobKey, FileEntry]], progress: Progress) -> None:
        for key, entry in todo:
            if await self._is_there(key, entry):
                self._copied.kept += 1
            else:
                await self._put(key, entry)
                self._copied.written += 1
            progress.advance(entry.bytes)

    async def _is_there(self, key: BlobKey, entry: FileEntry) -> bool:
        found = await self._store.find(key)
        if found is None:
            return False
        if found.size_bytes == entry.bytes and await self._digest(key) == entry.sha256:
            return True
        if not self._replace:
            raise CommandError(f"the store has another {key.path} than the backup; --force replaces it")
        return False

    async def _digest(self, key: BlobKey) -> str:
        tally = Tally()
        async with self._store.open(key) as opened:
            if opened is not None:
                async for piece in opened.chunks():
                    tally.add(piece)
        return tally.sha256

    async def _put(self, key: BlobKey, entry: FileEntry) -> None:
        tally, path = Tally(), self._folder / content_path(key)

        async def unchanged() -> None:
            if (tally.size_bytes, tally.sha256) != (entry.bytes, entry.sha256):
                raise damaged(path, "has changed since it was checked")

        async with self._store.stage(key) as staged:
            async for piece in pieces(path, tally):
                await staged.write(piece)
            await staged.publish(unchanged)
        stored = await self._store.find(key)
        if stored is None or stored.size_bytes != entry.bytes:
            raise CommandError(f"the store took {key.path} and does not have it as it was sent")

    async def _remove(self) -> None:
        async for some in self._store.listing():
            for stored in some:
                if stored.key not in self._entries and not self._is_unsaved(stored):
                    await self._store.remove(stored.key)
                    self._copied.removed += 1

    def _is_unsaved(self, stored: Stored) -> bool:
        """Whether the backup wanted it, though the store did not show it then: it may be the only copy."""
        return content_path(stored.key) in self._unsaved and stored.modified_at < self._created_at


async def _together(work: Iterable[Coroutine[object, object, None]]) -> None:
    """Do all of it at once. The first failure ends the rest, and is raised as it is."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
