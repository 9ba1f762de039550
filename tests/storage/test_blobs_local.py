"""A directory of contents: its layout, and what a broken disk or a killed process leaves there."""

import asyncio
import errno
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from less_sync.storage.blobs import CHUNK_BYTES_MAX, BlobError, BlobKey
from less_sync.storage.objects.local import LocalBlobs
from less_sync.storage.objects.reading import OpenFile
from less_sync.storage.objects.staging import StagingFile, StagingWriter
from less_sync.storage.objects.threads import DiskThreads
from tests.storage.blob_process import Options, start
from tests.storage.blobs import at_once, everything, get, new_key, put, some_bytes, write

MIB = 1024 * 1024


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[LocalBlobs]:
    store = LocalBlobs.at(tmp_path)
    try:
        yield store
    finally:
        await store.aclose()


def place(base: Path, key: BlobKey) -> Path:
    return base / "spaces" / str(key.space) / "files" / str(key.file)


def names(base: Path) -> list[str]:
    return sorted(path.name for path in base.rglob("*") if path.is_file())


async def test_a_content_lies_where_existing_servers_look_for_it(local: LocalBlobs, tmp_path: Path) -> None:
    key = new_key()
    await put(local, key, b"content")
    assert place(tmp_path, key).read_bytes() == b"content"
    assert names(tmp_path) == [str(key.file)]


async def test_what_is_staged_lies_beside_it_under_a_name_that_nobody_serves(
    local: LocalBlobs, tmp_path: Path
) -> None:
    key = new_key()
    async with local.stage(key):
        (name,) = names(tmp_path)
        assert place(tmp_path, key).with_name(name).parent == place(tmp_path, key).parent
        stem, mark, number = name.partition("#")
        assert (stem, mark, number.isdecimal()) == (str(key.file), "#", True)


async def test_only_names_of_files_are_listed(local: LocalBlobs, tmp_path: Path) -> None:
    key = new_key()
    await put(local, key, b"content")
    files = place(tmp_path, key).parent
    for name in ("readme", str(key.file).upper(), f"{key.file}#1", key.file.hex, f"{{{key.file}}}"):
        (files / name).write_bytes(b"not ours")
    (files / str(new_key().file)).mkdir()
    (tmp_path / "spaces" / "lost+found" / "files").mkdir(parents=True)
    (tmp_path / "spaces" / str(new_key().file)).write_bytes(b"a file where a space belongs")
    assert set(await everything(local)) == {key}


async def test_a_listing_of_thousands_comes_in_parts(local: LocalBlobs, tmp_path: Path) -> None:
    keys = [new_key() for _ in range(2100)]
    place(tmp_path, keys[0]).parent.mkdir(parents=True)
    for key in keys:
        place(tmp_path, key).touch()
    batches = [batch async for batch in local.listing()]
    assert [len(batch) for batch in batches] == [1000, 1000, 100]
    assert {stored.key for batch in batches for stored in batch} == set(keys)


async def test_leftovers_go_when_they_are_old_and_nothing_else_does(
    local: LocalBlobs, tmp_path: Path
) -> None:
    key = new_key()
    await put(local, key, b"content")
    file = place(tmp_path, key)
    old, young, other = (file.with_name(f"{key.file}{end}") for end in ("#17", "#18", "#x"))
    for path in (old, young, other):
        path.write_bytes(b"left")
    for path in (old, other, file):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    assert await local.tidy(older_than_s=3600) == 1
    assert names(tmp_path) == sorted([file.name, young.name, other.name])


async def test_a_killed_upload_leaves_the_former_content_and_a_leftover_that_is_tidied(
    local: LocalBlobs, tmp_path: Path
) -> None:
    key = new_key()
    await put(local, key, b"former")
    options = Options(str(key.space), str(key.file), str(tmp_path), wait_before_publishing=True)
    process = await start(options)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"staged\n"
    process.kill()
    await process.communicate()
    assert len(names(tmp_path)) == 2
    assert set(await everything(local)) == {key}
    assert await get(local, key) == b"former"
    assert await local.tidy(older_than_s=3600) == 0
    assert await local.tidy(older_than_s=-1) == 1
    assert names(tmp_path) == [str(key.file)]


async def test_a_disk_that_takes_no_more_is_told_and_nothing_is_left(
    local: LocalBlobs, tmp_path: Path
) -> None:
    key = new_key()
    await put(local, key, b"former")
    # A limit on the size of files stands in for the disk: the write meets an error in the middle.
    options = Options(str(key.space), str(key.file), str(tmp_path), size_bytes=3 * MIB, file_bytes_max=MIB)
    process = await start(options)
    told, _ = await process.communicate()
    assert told == b"file storage: file too large\n"
    assert await get(local, key) == b"former"
    assert names(tmp_path) == [str(key.file)]


class FullFile(StagingFile):
    """A file on a disk that is full from some size on."""

    room_bytes = 2 * CHUNK_BYTES_MAX

    def append(self, pieces: Sequence[bytes]) -> None:
        self.room_bytes -= sum(map(len, pieces))
        if self.room_bytes < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(pieces)


@pytest.mark.parametrize("chunks", [3, 4, 9])
async def test_a_full_disk_is_told_in_words_whenever_it_shows(tmp_path: Path, chunks: int) -> None:
    threads = DiskThreads()
    writer = StagingWriter(FullFile(tmp_path / "staged", keep=True), threads)

    async def publish() -> None:
        await writer.finish(lambda file: file.path.rename(tmp_path / "published"))

    async def upload() -> None:
        for _ in range(chunks):
            await writer.write(bytes(CHUNK_BYTES_MAX))
        await publish()

    with pytest.raises(BlobError, match="file storage: no space left on the disk") as caught:
        await upload()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(BlobError):  # room or not, a part of it is missing
        await publish()
    await writer.aclose()
    await threads.aclose()
    assert list(tmp_path.iterdir()) == []


async def test_a_directory_that_takes_no_files_is_told() -> None:
    store = LocalBlobs(Path("/sys/kernel"))  # no user may write here, root neither
    with pytest.raises(BlobError, match=r"file storage: .* (permitted|denied|read-only)"):
        await put(store, new_key(), b"content")
    await store.aclose()


async def test_a_store_whose_directory_is_gone_does_not_say_that_a_content_is_missing(tmp_path: Path) -> None:
    store = LocalBlobs.at(tmp_path / "mounted")
    key = new_key()
    (tmp_path / "mounted").rmdir()
    with pytest.raises(BlobError):
        await store.find(key)
    with pytest.raises(BlobError):
        await get(store, key)
    with pytest.raises(BlobError):
        await store.remove(key)
    with pytest.raises(BlobError):
        await everything(store)
    with pytest.raises(BlobError):
        await put(store, key, b"content")
    assert list(tmp_path.iterdir()) == []
    await store.aclose()


async def test_what_is_no_file_is_a_failure_and_not_a_content(local: LocalBlobs, tmp_path: Path) -> None:
    key = new_key()
    place(tmp_path, key).mkdir(parents=True)
    for attempt in (local.find(key), get(local, key), local.remove(key), put(local, key, b"content")):
        with pytest.raises(BlobError):
            await attempt
    assert names(tmp_path) == []


async def test_a_content_that_shrinks_while_it_is_read_is_not_served_short(
    local: LocalBlobs, tmp_path: Path
) -> None:
    key = new_key()
    await put(local, key, some_bytes(8 * CHUNK_BYTES_MAX))
    async with local.open(key) as opened:
        assert opened is not None
        os.truncate(place(tmp_path, key), 5 * CHUNK_BYTES_MAX + 1)
        chunks = opened.chunks()
        received = [len(await anext(chunks)) for _ in range(5)]
        with pytest.raises(BlobError, match="became shorter"):
            await anext(chunks)
    assert received == [CHUNK_BYTES_MAX] * 5


def open_below(directory: Path) -> list[str]:
    """What this process has open there. What earlier tests left open may go at any time."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(path for path in found if path.startswith(str(directory)))


async def test_cancelling_anywhere_leaves_no_descriptor_no_file_and_no_thread_at_work(
    local: LocalBlobs, tmp_path: Path
) -> None:
    key, content = new_key(), some_bytes(3 * CHUNK_BYTES_MAX)
    await put(local, key, content)

    async def use() -> None:
        async with local.stage(key) as staged:
            await write(staged, content)
            await staged.publish(at_once)
        async with local.open(key) as opened:
            assert opened is not None
            async for _ in opened.chunks():
                await asyncio.sleep(0)

    before = open_below(tmp_path)
    for turn in range(120):
        task = asyncio.create_task(use())
        for _ in range(turn % 40):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert names(tmp_path) == [str(key.file)]
    assert await get(local, key) == content
    assert open_below(tmp_path) == before


async def test_sixty_four_uploads_at_once_are_all_stored(local: LocalBlobs) -> None:
    piece = some_bytes(CHUNK_BYTES_MAX)

    async def upload() -> int:
        async with local.stage(new_key()) as staged:
            await write(staged, piece * 8)
            await staged.publish(at_once)
            return staged.size_bytes

    assert sum(await asyncio.gather(*(upload() for _ in range(64)))) == 64 * 8 * CHUNK_BYTES_MAX
    assert len(await everything(local)) == 64


async def test_a_content_reads_the_same_from_memory_and_from_the_disk() -> None:
    """In a directory of the checkout: temporary ones may lie in memory, where no disk is asked."""
    content = some_bytes(3 * CHUNK_BYTES_MAX + 100)
    with tempfile.TemporaryDirectory(dir=sys.prefix) as directory:
        store = LocalBlobs.at(Path(directory))
        try:
            key = new_key()
            await put(store, key, content)
            path = place(Path(directory), key)
            assert await get(store, key) == content
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert await get(store, key) == content
            opened = OpenFile(path)
            first = content[:CHUNK_BYTES_MAX]
            assert opened.read(0) == first
            assert opened.read_at_hand(0) in (None, first)  # None: this file system cannot say
            opened.close()
            assert (opened.read_at_hand(0), opened.read(0)) == (None, b"")
        finally:
            await store.aclose()
