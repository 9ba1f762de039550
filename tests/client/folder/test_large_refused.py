"""Large files where something stands in the way: no storage, no scope, a full disk, a server that lies."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.client.folder.errors import DiskFull, ExitCode
from less_sync.client.folder.file_storage import NO_FILE_STORAGE, NO_SCOPE
from less_sync.client.folder.partial import Partial
from less_sync.client.folder.report import Kind
from less_sync.storage import BlobKey
from less_sync.storage.blobs import CHUNK_BYTES_MAX
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.client import ServerUnavailable
from tests.client.folder.devices import Fuse, MortalTree
from tests.client.folder.large import MIB, Desk, Meter, random_file
from tests.client.folder.test_engine import Log, eventually, files
from tests.live import claims, live_server
from tests.sync.client.file_server import Call, file_server

KIB = 1024
SPACE = UUID(claims("alice")["personal_space_id"])


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
async def desk(database_url: str, tmp_path: Path, blobs: MemoryBlobs) -> AsyncIterator[Desk]:
    async with live_server(database_url, blobs=blobs) as live:
        yield Desk(live, database_url, tmp_path)


@pytest.mark.parametrize("reason", [NO_FILE_STORAGE, NO_SCOPE])
async def test_without_storage_or_scope_records_hold_what_fits_and_the_rest_is_named(
    database_url: str, tmp_path: Path, reason: str
) -> None:
    storage = MemoryBlobs() if reason == NO_SCOPE else None
    scope = "sync" if reason == NO_SCOPE else "sync files"
    async with live_server(database_url, blobs=storage) as live:
        desk = Desk(live, database_url, tmp_path, scope=scope)
        one, two = desk.folder("one"), desk.folder("two")
        content = random_file(one / "fits", 3 * MIB)
        random_file(one / "large", 5 * MIB)
        pushed = await desk.run("push", one)
        assert pushed.told(Kind.SKIPPED) == ["large"]
        assert pushed.details(Kind.SKIPPED) == [f"too large for a record: 5,242,880 bytes, and {reason}"]
        assert pushed.summary.exit_code == ExitCode.SKIPPED
        assert (await desk.run("pull", two)).summary.exit_code == ExitCode.OK
        assert files(two) == {"fits": content}
        assert await desk.stored() == 0


async def test_what_cannot_be_downloaded_now_is_pending_and_comes_later(
    database_url: str, tmp_path: Path
) -> None:
    blobs = MemoryBlobs()
    async with live_server(database_url, blobs=blobs) as live:
        desk = Desk(live, database_url, tmp_path)
        one, two = desk.folder("one"), desk.folder("two")
        wanted = {name: random_file(one / name, MIB) for name in "ab"}
        await desk.run("push", one)
        before = await replace(desk, scope="sync").run("pull", two)
        assert (before.told(Kind.SKIPPED), before.details(Kind.SKIPPED)) == (["a", "b"], [NO_SCOPE] * 2)
        assert (before.summary.exit_code, files(two)) == (ExitCode.SKIPPED, {})
        random_file(two / "a", MIB)  # not pushed over what is there
        assert (await desk.run("push", two)).told(Kind.SKIPPED) == ["a"]
        await desk.run("pull", two)
    assert [content for path, content in sorted(files(two).items()) if "conflict" not in path] == [
        wanted["a"],
        wanted["b"],
    ]


async def test_parts_are_smaller_where_the_server_takes_no_larger_files(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, blobs=MemoryBlobs(), file_bytes_max=3 * MIB) as live:
        desk = Desk(live, database_url, tmp_path, part_bytes=4 * MIB)
        one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
        content = random_file(one / "a", 5 * MIB)
        assert (await desk.run("push", one, meter)).told(Kind.PUSHED) == ["a"]
        assert (len(meter.sent), await desk.stored(), await desk.live_records()) == (3, 3, 2)
        await desk.run("pull", two)
        assert files(two) == {"a": content}


async def test_a_server_that_takes_only_tiny_files_is_named_and_keeps_nothing(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, blobs=MemoryBlobs(), file_bytes_max=MIB) as live:
        desk = Desk(live, database_url, tmp_path)
        one = desk.folder("one")
        random_file(one / "a", 2 * MIB)
        pushed = await desk.run("push", one)
        assert (pushed.told(Kind.SKIPPED), pushed.told(Kind.PUSHED)) == (["a"], [])
        assert "file exceeds 1 MB limit" in pushed.details(Kind.SKIPPED)[0]
        assert (await desk.stored(), await desk.live_records()) == (0, 0)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda parts: [flipped(parts[0]), *parts[1:]], "a part of it does not decrypt"),
        (lambda parts: [parts[1], parts[0], parts[2]], "a part of it does not decrypt"),
        (lambda parts: [parts[0], parts[1], None], "a part of it is not on the server"),
        (lambda parts: [b"\x04" + parts[0][1:], *parts[1:]], "a part of it does not decrypt"),
    ],
    ids=["altered", "swapped", "missing", "version"],
)
async def test_a_content_that_is_not_as_it_was_sent_is_named_and_never_placed(
    desk: Desk, blobs: MemoryBlobs, lie: Callable[[list[bytes]], list[bytes | None]], reason: str
) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    former = random_file(one / "a", 256 * KIB)
    await desk.run("push", one)
    await desk.run("pull", two)
    content = random_file(one / "a", 3 * MIB)
    await desk.run("push", one, meter)
    keys = [BlobKey(SPACE, part) for part in meter.sent]
    sent = []
    for key in keys:
        async with blobs.open(key) as opened:
            assert opened is not None
            sent.append(b"".join([piece async for piece in opened.chunks()]))
    await _store(blobs, keys, lie(sent))
    for _ in range(2):
        pulled = await desk.run("pull", two)
        assert set(pulled.told(Kind.SKIPPED)) == {"a"}
        assert pulled.details(Kind.SKIPPED)[0].startswith(reason)
        assert (pulled.summary.exit_code, files(two)) == (ExitCode.SKIPPED, {"a": former})
    await _store(blobs, keys, list(sent))
    await desk.run("pull", two)
    assert files(two) == {"a": content}


async def present() -> None:
    """The content is wanted still."""


async def _store(blobs: MemoryBlobs, keys: list[BlobKey], contents: list[bytes | None]) -> None:
    for key, content in zip(keys, contents, strict=True):
        await blobs.remove(key)
        if content is not None:
            async with blobs.stage(key) as staged:
                for start in range(0, len(content), CHUNK_BYTES_MAX):
                    await staged.write(content[start : start + CHUNK_BYTES_MAX])
                await staged.publish(present)


async def test_a_file_that_the_server_cannot_read_holds_up_no_other(desk: Desk) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    random_file(one / "a", 2 * MIB)
    await desk.run("push", one, meter)
    other = random_file(one / "b", MIB)
    await desk.run("push", one)
    await desk.rows(f"UPDATE files SET size = size + 1 WHERE id = '{meter.sent[1]}'")
    with pytest.raises(ServerUnavailable):  # the server knows that it has something else
        await desk.run("pull", two)
    assert files(two) == {"b": other}


async def test_a_watch_pushes_on_while_the_server_cannot_read_a_file(desk: Desk) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    content = random_file(one / "a", 2 * MIB)
    await desk.run("push", one, meter)
    await desk.rows(f"UPDATE files SET size = size + 1 WHERE id = '{meter.sent[1]}'")
    log = Log()
    async with desk.engine(two, log) as engine:
        watching = asyncio.create_task(engine.watch())
        (two / "b").write_text("small")
        await eventually(lambda: "b" in log.told(Kind.PUSHED))
        await desk.rows(f"UPDATE files SET size = size - 1 WHERE id = '{meter.sent[1]}'")
        await eventually(lambda: files(two).get("a") == content)
        watching.cancel()
        await asyncio.wait([watching])
    assert any(detail.startswith("a: the server is not ready") for detail in log.details(Kind.DISCONNECTED))


class FullPartial(Partial):
    """On a disk without space: writes go to the device that has none, once a chunk is there."""

    def write(self, data: bytes, at: int) -> None:
        if at:
            self._file.close()
            self._file = FileIO("/dev/full", "r+")
        super().write(data, at)


class FullTree(MortalTree):
    def partial(self, content: UUID) -> Partial:
        return FullPartial(self._state_dir, content)


async def test_a_disk_that_is_full_ends_the_pull_and_the_next_one_goes_on(desk: Desk) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    content = random_file(one / "a", 3 * MIB)
    await desk.run("push", one)
    desk.tree = FullTree
    with pytest.raises(DiskFull):
        await desk.run("pull", two)
    assert (files(two), len(os.listdir(two / ".less-sync" / "partial"))) == ({}, 1)
    desk.tree = MortalTree
    await desk.run("pull", two, meter)
    assert (files(two), len(meter.fetched)) == ({"a": content}, 2)


async def test_a_folder_in_the_way_keeps_what_was_downloaded_for_later(desk: Desk) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    content = random_file(one / "a", 2 * MIB)
    await desk.run("push", one)
    assert not await desk.survives("pull", two, Meter(fuse=Fuse(4)))  # all parts are here, none in place
    (two / "a").mkdir()
    pulled = await desk.run("pull", two, meter)
    assert (set(pulled.told(Kind.SKIPPED)), meter.fetched) == ({"a"}, [])
    (two / "a").rmdir()
    await desk.run("pull", two, meter)
    assert (files(two), meter.fetched) == ({"a": content}, [])


async def test_a_device_that_lost_its_memory_fetches_nothing_that_it_has(desk: Desk) -> None:
    one, meter = desk.folder("one"), Meter()
    random_file(one / "a", 2 * MIB)
    await desk.run("push", one)
    (one / ".less-sync").rename(one.parent / "away")
    for verb in ("pull", "push"):
        assert (await desk.run(verb, one, meter)).told(Kind.SKIPPED) == []
    assert (meter.sent, meter.fetched, await desk.stored()) == ([], [], 2)
    random_file(one / "a", MIB)  # and it knows what to free when it replaces it
    await desk.run("push", one)
    assert (await desk.stored(), await desk.live_records()) == (1, 2)


async def test_all_uploads_are_begun_anew_where_the_server_has_come_to_take_only_smaller_files(
    database_url: str, tmp_path: Path
) -> None:
    blobs = MemoryBlobs()
    async with live_server(database_url, blobs=blobs) as live:
        desk = Desk(live, database_url, tmp_path, part_bytes=4 * MIB)
        one = desk.folder("one")
        for name in "ab":
            random_file(one / name, 5 * MIB)
        assert not await desk.survives("push", one, Meter(fuse=Fuse(2)))
        (one / "a").rename(one / "c")
        assert not await desk.survives("push", one, Meter(fuse=Fuse(2)))
    async with live_server(database_url, blobs=blobs, file_bytes_max=3 * MIB) as live:
        desk.live = live
        pushed = await desk.run("push", one)
        assert (pushed.told(Kind.PUSHED), pushed.told(Kind.SKIPPED)) == (["b", "c"], [])
        assert await desk.stored() == 6


async def test_a_proxy_that_hands_on_no_files_holds_up_nothing_else(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "large", 5 * MIB)

    async def not_found(call: Call) -> None:
        call.writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    reason = "the other end answers HTTP 404 to a request for a file"
    async with file_server(not_found) as proxy:
        behind = replace(desk, files_url=proxy.url)
        content = random_file(one / "small", 3 * MIB)
        pushed = await behind.run("push", one)
        assert (pushed.told(Kind.PUSHED), pushed.told(Kind.SKIPPED)) == (["small"], ["large"])
        assert pushed.details(Kind.SKIPPED)[0].endswith(reason)
        await desk.run("push", one)
        pulled = await behind.run("pull", two)
        assert (pulled.details(Kind.SKIPPED), files(two)) == ([reason], {"small": content})
    await desk.run("pull", two)
    assert files(two) == files(one)


class ForgetfulTree(MortalTree):
    """Somebody empties `.less-sync/partial/` between a download and its place."""

    def sync_spooled(self, names: Iterable[str]) -> None:
        names = list(names)
        for name in names:
            os.unlink(name, dir_fd=self._state_dir)
        super().sync_spooled(names)


async def test_a_download_that_is_removed_before_it_is_placed_is_named_and_fetched_again(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    content = random_file(one / "a", MIB)
    await desk.run("push", one)
    pulled = await replace(desk, tree=ForgetfulTree).run("pull", two)
    assert pulled.details(Kind.SKIPPED) == ["no such file or directory"]
    await desk.run("pull", two)
    assert files(two) == {"a": content}


async def test_a_part_that_the_server_never_takes_holds_up_no_other_file(desk: Desk) -> None:
    one = desk.folder("one")
    (one / "old").write_text("x")
    await desk.run("push", one)
    (one / "old").unlink()
    for name in "abc":
        random_file(one / name, MIB)
    refused: set[str] = set()

    async def act(call: Call) -> None:
        if call.method == "GET":
            await call.refuse(404, "file not found")
            return
        await call.body()
        refused.add(call.target if not refused else "")
        if call.target in refused:
            await call.refuse(503, "file storage unavailable")
        else:
            await call.answer(201)

    log = Log()
    async with file_server(act) as server:
        async with replace(desk, files_url=server.url).engine(one, log) as engine:
            with pytest.raises(ServerUnavailable):
                await engine.push_once()
    assert log.told(Kind.PUSHED) == ["b", "c"]
    assert log.told(Kind.DELETED_THERE) == []
    assert (await desk.run("push", one)).told(Kind.DELETED_THERE) == ["old"]
