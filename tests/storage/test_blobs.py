"""One behaviour of every store of contents: a directory, memory, an S3-compatible server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from less_sync.storage import StorageError
from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobKey, BlobStore
from less_sync.storage.objects.local import LocalBlobs
from less_sync.storage.objects.memory import MemoryBlobs
from tests.storage.blobs import (
    SPACE,
    at_once,
    everything,
    get,
    in_new_bucket,
    new_key,
    put,
    some_bytes,
    write,
)

MIB = 1024 * 1024


@pytest.fixture(params=["local", "memory", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    store: BlobStore
    if request.param == "local":
        store = LocalBlobs.at(tmp_path / "files")
    elif request.param == "memory":
        store = MemoryBlobs()
    else:
        store = await in_new_bucket(request.getfixturevalue("s3_server"), tmp_path / "staging")
    try:
        yield store
    finally:
        await store.aclose()


async def test_nothing_is_found_under_a_key_of_which_nothing_was_published(store: BlobStore) -> None:
    key = new_key()
    assert await store.find(key) is None
    assert await get(store, key) is None
    assert await everything(store) == {}


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 8 * MIB, 9 * MIB + 1])
async def test_a_published_content_is_read_as_it_was_written(store: BlobStore, size: int) -> None:
    key, content = new_key(), some_bytes(size)
    before = datetime.now(UTC) - timedelta(seconds=2)
    async with store.stage(key) as staged:
        await write(staged, content)
        assert staged.size_bytes == size
        await staged.publish(at_once)
    stored = await store.find(key)
    assert stored is not None
    assert (stored.key, stored.size_bytes) == (key, size)
    assert before <= stored.modified_at <= datetime.now(UTC) + timedelta(seconds=2)
    assert await everything(store) == {key: stored}
    async with store.open(key) as opened:
        assert opened is not None
        assert opened.size_bytes == size
        chunks = [chunk async for chunk in opened.chunks()]
    assert b"".join(chunks) == content
    assert all(64 * 1024 <= len(chunk) <= CHUNK_BYTES_MAX for chunk in chunks[:-1])


async def test_every_content_of_a_key_has_a_version_of_its_own(store: BlobStore) -> None:
    key, versions = new_key(), []
    for number in range(4):
        await put(store, key, b"the same length, %d" % number)
        stored = await store.find(key)
        assert stored is not None
        async with store.open(key) as opened:
            assert opened is not None
            assert opened.version == stored.version
        assert await store.find(key) == stored
        versions.append(stored.version)
    assert len(set(versions)) == 4


@pytest.mark.parametrize("piece", [1, 100, 65_536, 200_000])
async def test_pieces_of_any_size_make_the_same_content(store: BlobStore, piece: int) -> None:
    key, content = new_key(), some_bytes(piece * 1100 if piece < 1000 else piece * 7 + 1)
    async with store.stage(key) as staged:
        await write(staged, content, piece)
        await staged.publish(at_once)
    assert await get(store, key) == content


async def test_what_is_staged_is_neither_found_nor_listed_and_leaving_forgets_it(store: BlobStore) -> None:
    key = new_key()
    async with store.stage(key) as staged:
        await write(staged, some_bytes(MIB))
        assert await store.find(key) is None
        assert await get(store, key) is None
        assert await everything(store) == {}
    assert await store.find(key) is None
    assert await store.tidy(older_than_s=-1) == 0


async def test_contents_of_one_space_are_listed_without_those_of_others(store: BlobStore) -> None:
    mine, other = [new_key(), new_key()], BlobKey(uuid4(), uuid4())
    for key in (*mine, other):
        await put(store, key, b"content")
    async with store.stage(new_key()) as staged:
        await write(staged, b"unfinished")
        listed = [one.key for page in [p async for p in store.of_space(SPACE)] for one in page]
    assert sorted(listed) == sorted(mine)
    assert [page async for page in store.of_space(uuid4())] == []


async def test_a_later_content_replaces_the_former(store: BlobStore) -> None:
    key = new_key()
    await put(store, key, b"first")
    await put(store, key, b"second content")
    stored = await store.find(key)
    assert stored is not None
    assert stored.size_bytes == 14
    assert await get(store, key) == b"second content"


async def test_a_content_whose_check_fails_is_not_shown(store: BlobStore) -> None:
    key = new_key()
    await put(store, key, b"old")

    async def lost() -> None:
        raise StorageError("the lock is gone")

    async with store.stage(key) as staged:
        await write(staged, b"new")
        with pytest.raises(StorageError, match="the lock is gone"):
            await staged.publish(lost)
    assert await get(store, key) == b"old"
    assert await store.tidy(older_than_s=-1) == 0


async def test_a_reader_keeps_the_content_that_is_replaced_or_removed_meanwhile(store: BlobStore) -> None:
    key, content = new_key(), some_bytes(3 * CHUNK_BYTES_MAX)
    await put(store, key, content)
    async with store.open(key) as opened:
        assert opened is not None
        chunks = opened.chunks()
        read = await anext(chunks)
        await put(store, key, b"another")
        await store.remove(key)
        async for chunk in chunks:
            read += chunk
    assert read == content
    assert await get(store, key) is None


async def test_a_removed_content_is_gone_and_removing_it_again_is_success(store: BlobStore) -> None:
    key, other = new_key(), new_key()
    await put(store, key, b"gone")
    await put(store, other, b"stays")
    await store.remove(key)
    await store.remove(key)
    assert await store.find(key) is None
    assert set(await everything(store)) == {other}


async def test_a_reader_may_leave_in_the_middle(store: BlobStore) -> None:
    key = new_key()
    await put(store, key, some_bytes(4 * CHUNK_BYTES_MAX))
    async with store.open(key) as opened:
        assert opened is not None
        assert await anext(opened.chunks())
    assert await store.find(key) is not None


async def test_uploads_of_one_key_at_once_do_not_meet_until_they_are_published(store: BlobStore) -> None:
    key = new_key()
    contents = [some_bytes(CHUNK_BYTES_MAX + n) for n in range(8)]

    async def upload(content: bytes) -> None:
        async with store.stage(key) as staged:
            for start in range(0, len(content), 50_000):
                await staged.write(content[start : start + 50_000])
                await asyncio.sleep(0)
            await staged.publish(at_once)

    await asyncio.gather(*map(upload, contents))
    assert await get(store, key) in contents
    assert await store.tidy(older_than_s=-1) == 0


async def test_an_upload_cancelled_while_it_is_written_leaves_nothing(store: BlobStore) -> None:
    key = new_key()
    written = asyncio.Event()

    async def upload() -> None:
        async with store.stage(key) as staged:
            while True:
                await staged.write(some_bytes(CHUNK_BYTES_MAX))
                if staged.size_bytes > 4 * CHUNK_BYTES_MAX:
                    written.set()
                await asyncio.sleep(0)

    task = asyncio.create_task(upload())
    await written.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.find(key) is None
    assert await store.tidy(older_than_s=-1) == 0


@pytest.mark.parametrize("steps", range(0, 12, 3))
async def test_an_upload_cancelled_while_it_is_published_leaves_the_old_or_the_new_content(
    store: BlobStore, steps: int
) -> None:
    key, new = new_key(), some_bytes(2 * MIB)
    await put(store, key, b"old")
    publishing = asyncio.Event()

    async def upload() -> None:
        async with store.stage(key) as staged:
            await write(staged, new)
            publishing.set()
            await staged.publish(at_once)

    task = asyncio.create_task(upload())
    await publishing.wait()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task})
    assert await get(store, key) in (b"old", new)
    assert await store.tidy(older_than_s=-1) == 0
