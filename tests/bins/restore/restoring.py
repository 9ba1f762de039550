"""A source that is backed up, and what the command does with the backup."""

from dataclasses import dataclass

from less_sync.bins.backup.load import Outcome, Wanted, restore
from less_sync.bins.backup.manifest import read_manifest
from less_sync.bins.backup.reading import verify
from less_sync.bins.backup.watching import Doing
from less_sync.migrations.catalog import load
from less_sync.storage import BlobKey
from less_sync.storage.objects.memory import MemoryBlobs
from tests.bins.restore.made import Backup
from tests.bins.restore.watching import Seen

NEWEST = max(load())


@dataclass(frozen=True, slots=True)
class Source:
    """A database, its contents and a backup of them."""

    url: str
    contents: dict[BlobKey, bytes]
    backup: Backup


async def restored(url: str, store: MemoryBlobs, backup: Backup, **how: bool) -> tuple[Outcome, list[Doing]]:
    """Do what the command does."""
    seen = Seen()
    manifest = read_manifest(backup.folder)
    await verify(backup.folder, manifest, seen)
    outcome = await restore(url, store, Wanted(backup.folder, manifest, **how), seen)
    return outcome, seen.parts
