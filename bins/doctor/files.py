"""The check of the file storage: whether contents can be written, read and removed."""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from less_sync.bins.amounts import shown_bytes
from less_sync.bins.doctor.findings import Finding, failed, in_thread, not_applicable, ok, warning
from less_sync.bins.settings.files import FileSettings, S3Settings
from less_sync.storage import BlobError, DiskFacts, disk_facts, probe_bucket, probe_directory

CHECK: Final = "file storage"
FREE_BYTES_LOW: Final = 1024 * 1024 * 1024
FREE_FILES_LOW: Final = 10_000
BUCKET_S: Final = 15.0


async def look_at_files(settings: FileSettings) -> Sequence[Finding]:
    """Write, read and remove a probe."""
    if settings.backend == "none":
        return [not_applicable(CHECK, "there is none: FILE_STORAGE_BACKEND is not set")]
    if settings.s3 is not None:
        return [await _bucket(settings.s3)]
    return [await in_thread(lambda: _directory(settings.directory))]


def _directory(base: Path) -> Finding:
    try:
        if not base.exists():
            return _to_be_made(base)
        probe_directory(base)
        facts = disk_facts(base)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return failed(CHECK, f"{base} cannot be written: {reason}", _todo(error.errno))
    except BlobError as error:
        return failed(CHECK, f"{base}: {error}", "look after the disk")
    return with_room(CHECK, f"{base}: written, read, removed", facts)


def _to_be_made(base: Path) -> Finding:
    parent = next(path for path in base.absolute().parents if path.exists())
    if os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return ok(CHECK, f"{base} is not there yet; the server makes it")
    return failed(CHECK, f"{base} is not there, and {parent} cannot be written", "make it, or let it be made")


def _todo(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk"
    if number == errno.EROFS:
        return "mount it for writing"
    return "let the server's user write there: owner and mode of the directory"


def with_room(check: str, found: str, facts: DiskFacts) -> Finding:
    """A finding with the room on the disk, which may be the trouble."""
    files = "" if facts.free_files is None else f", room for {facts.free_files:,} files"
    found = f"{found}; {shown_bytes(facts.free_bytes)} free{files}"
    short = facts.free_files is not None and facts.free_files < FREE_FILES_LOW
    if facts.free_bytes < FREE_BYTES_LOW or short:
        return warning(check, found, "make room, or take a larger disk: a full one stops all writes")
    return ok(check, found)


async def _bucket(s3: S3Settings) -> Finding:
    place = f"bucket {s3.bucket} at {s3.endpoint}"
    todo = "see docs/files.md 4.1 for the calls that are needed; check endpoint, bucket and keys"
    try:
        async with asyncio.timeout(BUCKET_S):
            problems = await probe_bucket(
                endpoint=s3.endpoint,
                bucket=s3.bucket,
                region=s3.region,
                access_key=s3.access_key,
                secret_key=s3.secret_key,
            )
    except TimeoutError:
        return failed(CHECK, f"{place}: no answer within {BUCKET_S:g} s", todo)
    except BlobError as error:
        return failed(CHECK, f"{place}: {error}", todo)
    if problems:
        return failed(CHECK, f"{place}: {'; '.join(problems)}", todo)
    return ok(CHECK, f"{place}: written, read, listed, removed")
