"""What the routes of files work with, where file storage is configured: one per process."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from less_sync.storage import BlobStore, FileStore, Turns
from less_sync.sync.announce import Announcer
from less_sync.sync.files.removals import Removals
from less_sync.sync.files.uploads import Uploads
from less_sync.sync.limits import Limits

FILE_BYTES_MAX: Final = 100 * 1024 * 1024
"""Of one content, unless the operator sets another limit (`MAX_FILE_SIZE`)."""


class TooManyWaiting(Exception):
    """A person's requests fill the places that he may have, and the queue before them."""


class SpaceFiles:
    """Rows and contents of files, and how many may be on their way at a time.

    People take turns, and nobody has more than a quarter of the places: what is slow may hold one for long.
    Nor may anybody's queue grow: who hangs up while waiting is noticed only when the turn comes.
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
        self._waiting_max = limits.file_requests_waiting_per_person
        self._downloading = Turns(limits.file_downloads_at_once, each_max=limits.file_downloads_per_person)

    def uploading(self, person: str) -> AbstractAsyncContextManager[None]:
        """Hold a place among the uploads; a body that waits for one is not read, so its sender waits too.

        Raises:
            TooManyWaiting: at once.
        """
        return self._place(self._uploading, person)

    def downloading(self, person: str) -> AbstractAsyncContextManager[None]:
        """Hold a place among the downloads. Raises as `uploading`."""
        return self._place(self._downloading, person)

    @asynccontextmanager
    async def _place(self, turns: Turns, person: str) -> AsyncIterator[None]:
        if turns.waiting(person) >= self._waiting_max:
            raise TooManyWaiting
        async with turns.place(person):
            yield
