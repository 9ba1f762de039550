"""Files whose parts are kept together by less than the file's lock and the order of the steps."""

from typing import Final

from tests.simulation.parts import Parts
from tests.simulation.system import (
    BlobKey,
    RecordFileStatus,
    Removals,
    Services,
    Staged,
    Upload,
    Uploads,
)


class PatchingUploads(Uploads):
    """A lost content is put under its old row first, and the row's key is replaced after that."""

    async def finish(self, upload: Upload, staged: Staged) -> RecordFileStatus:
        async with self._files.lock(*upload.key, user=upload.person) as lock:
            if lock.row is not None and await self._has_content(upload.key, lock.row.size_bytes):
                return RecordFileStatus.EXISTS
            outcome = await self._store(upload, staged, lock)
        return outcome.status


class HastyRemovals(Removals):
    """A content is removed without a look whether it is needed again."""

    async def remove(self, key: BlobKey) -> bool:
        await self._blobs.remove(key)
        return True


def _patch(services: Services) -> None:
    assert services.files is not None
    files = services.files
    files.uploads = PatchingUploads(
        files.store,
        files.blobs,
        files.removals,
        services.announce,
        frame_bytes_max=services.limits.outbound_frame_bytes,
    )


def _hasten(services: Services) -> None:
    assert services.files is not None
    services.files.removals = HastyRemovals(services.files.store, services.files.blobs)


PATCHED: Final = Parts(alter=_patch)
HASTY: Final = Parts(alter=_hasten)
