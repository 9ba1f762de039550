"""Blocking work in threads: what stops it, and what a size is."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from less_sync.client.folder.blocking import Stopped, check_stop, in_thread
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.hashing import hash_file
from less_sync.client.folder.scan import FILE_BYTES_MAX
from less_sync.client.folder.sizes import parse_size


async def test_long_work_ends_where_it_looks_once_it_is_cancelled() -> None:
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        try:
            while True:
                check_stop()
                time.sleep(0.001)
        except Stopped:
            ended.set()
            raise

    task = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(began.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    check_stop()  # nobody stops who waits for nobody


async def test_reading_the_largest_file_can_be_stopped(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(FILE_BYTES_MAX)
    tree = FileTree(tmp_path, None)
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await in_thread(hash_file, tree, "huge", by_chunk=True)
    finally:
        tree.close()


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("0", 0), ("262144", 262144), ("256KiB", 262144), ("1 MiB", 1 << 20), ("2gib", 2 << 30), ("7 B", 7)],
)
def test_sizes_are_read_as_people_write_them(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "much", "-1", "1.5MiB", "1 MB", "1e6", "٣"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="not a size"):
        parse_size(text)
