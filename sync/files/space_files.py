"""What the routes of files work with, where file storage is configured: one per process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from less_sync.storage import BlobStore, FileStore, Turns
from less_sync.sync.announce import Announcer
from less_sync.sync.files.removals import Removals
from less_sync.sync.files.uploads import Uploads
from less_sync.sync.limits import Limits

FILE_BYTES_MAX: Final = 100 * 1024 * 1024
"""Of one content, unless the operator sets another limit (`MAX_FILE_SIZE`)."""


class SpaceFiles:
    """Rows and contents of files, and how many may be on their way at a time.

    People take turns, and nobody has more than a quarter of the places: what is slow may hold one for long.
    """

    def __init__(
        self,
        store: FileStore,
        blobs: BlobStore,
        announce: Announcer,
        limits: Limits,
        *,
        bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        self.store = store
        self.blobs = blobs
        self.bytes_max = bytes_max
        self.removals = Removals(store, blobs)
        self.uploads = Uploads(
            store, blobs, self.removals, announce, frame_bytes_max=limits.outbound_frame_bytes
        )
        self._uploading = Turns(limits.file_uploads_at_once, each_max=limits.file_uploads_per_person)
        self._downloading = Turns(limits.file_downloads_at_once, each_max=limits.file_downloads_per_person)

    @asynccontextmanager
    async def uploading(self, person: str) -> AsyncIterator[None]:
        """Hold a place among the uploads; a body that waits for one is not read, so its sender waits too."""
        async with self._uploading.place(person):
            yield

    @asynccontextmanager
    async def downloading(self, person: str) -> AsyncIterator[None]:
        """Hold a place among the downloads."""
        async with self._downloading.place(person):
            yield
