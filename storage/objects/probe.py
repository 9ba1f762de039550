"""Trying out where contents are kept, with an object that no server takes for a content."""

import os
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import obstore

from less_sync.storage.blobs import BlobError
from less_sync.storage.objects.s3 import FAILURES, failed, open_bucket

PROBE: Final = "less-sync-doctor"
"""Names of probes begin with it; contents lie below `spaces/`."""
_CONTENT: Final = b"written to see whether that is possible; to be removed at once"


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The room on a disk."""

    free_bytes: int
    """For this user."""
    free_files: int | None
    """None: the file system has no bound of its own."""


def disk_facts(path: Path) -> DiskFacts:
    """The room where a path is. Raises OSError."""
    found = os.statvfs(path)
    return DiskFacts(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def probe_directory(base: Path) -> None:
    """Write, read and remove a file in a directory. It is removed, if it can be, whatever else fails.

    Raises:
        OSError: something of that cannot be done.
        BlobError: what was read is not what was written.
    """
    path = base / f"{PROBE}#{uuid.uuid4().int}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, _CONTENT)
        os.fsync(fd)
        if os.pread(fd, len(_CONTENT) + 1, 0) != _CONTENT:
            raise BlobError("file storage: what is read is not what was written")
    finally:
        os.close(fd)
        path.unlink()


async def probe_bucket(
    *, endpoint: str, bucket: str, region: str, access_key: str, secret_key: str
) -> list[str]:
    """Write, read, list and remove an object; what of that failed, and why. It is removed if it can be.

    Raises:
        BlobError: the settings are refused.
    """
    store = open_bucket(
        endpoint=endpoint, bucket=bucket, region=region, access_key=access_key, secret_key=secret_key
    )
    name = f"{PROBE}/{uuid.uuid4()}"
    steps: tuple[tuple[str, Callable[[], Awaitable[object]]], ...] = (
        ("write (PutObject)", lambda: obstore.put_async(store, name, _CONTENT, use_multipart=False)),
        ("read (GetObject)", lambda: obstore.get_async(store, name)),
        ("list (ListBucket)", lambda: obstore.list_with_delimiter_async(store, PROBE)),
        ("remove (DeleteObject)", lambda: obstore.delete_async(store, name)),
    )
    problems: list[str] = []
    for what, step in steps:
        try:
            await step()
        except FAILURES as error:
            problems.append(f"cannot {what}: {str(failed(error)).removeprefix('file storage: ')}")
            if step is steps[0][1]:
                break  # nothing was written: the rest would fail for that
    return problems
