"""What tests of stores of contents share."""

import os
from pathlib import Path
from uuid import UUID, uuid4

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobKey, BlobStore, Staged, Stored
from less_sync.storage.objects.s3 import S3Blobs
from tests.weed import S3Server

SPACE = UUID("0f5f6a2e-6d0b-4c46-9a3e-0a8d3f8e7a11")


def new_key() -> BlobKey:
    return BlobKey(SPACE, uuid4())


def some_bytes(count: int) -> bytes:
    """Random, so that a piece in the wrong place shows."""
    return os.urandom(count)


async def write(staged: Staged, content: bytes, piece_bytes: int = CHUNK_BYTES_MAX) -> None:
    for start in range(0, len(content), piece_bytes):
        await staged.write(content[start : start + piece_bytes])


async def at_once() -> None:
    """Nothing stands in the way of showing a content."""


async def put(store: BlobStore, key: BlobKey, content: bytes) -> None:
    async with store.stage(key) as staged:
        await write(staged, content)
        await staged.publish(at_once)


async def get(store: BlobStore, key: BlobKey) -> bytes | None:
    async with store.open(key) as opened:
        return None if opened is None else b"".join([chunk async for chunk in opened.chunks()])


async def everything(store: BlobStore) -> dict[BlobKey, Stored]:
    return {stored.key: stored for batch in [b async for b in store.listing()] for stored in batch}


async def in_new_bucket(server: S3Server, staging: Path, bucket: str = "") -> S3Blobs:
    """A store in a bucket of the test's own, with nothing in it."""
    store = S3Blobs(
        endpoint=server.endpoint,
        bucket=bucket or f"test-{uuid4()}",
        region="us-east-1",
        access_key=server.access_key,
        secret_key=server.secret_key,
        staging=staging,
    )
    key = new_key()
    await put(store, key, b"the first object makes the bucket")
    await store.remove(key)
    return store
