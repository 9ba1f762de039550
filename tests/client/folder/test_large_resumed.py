"""Commands that are killed while large files move: the next one goes on, and leaves nothing behind."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from less_sync.client.folder.report import Kind
from less_sync.storage.objects.memory import MemoryBlobs
from tests.client.folder.devices import Fuse
from tests.client.folder.large import MIB, Desk, Meter, random_file
from tests.client.folder.test_engine import files
from tests.live import live_server

PARTS = 2
STEPS_OF_A_PUSH = 2 * (1 + PARTS + 1)
"""Before and after: the content record, each part, the record of the file."""
STEPS_OF_A_PULL = 2 * (PARTS + 1)
"""Before and after: each part, the file in its place."""


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with live_server(database_url, blobs=MemoryBlobs()) as live:
        yield Desk(live, database_url, tmp_path)


async def test_a_push_that_was_killed_anywhere_goes_on_without_sending_a_part_twice(desk: Desk) -> None:
    for step in range(STEPS_OF_A_PUSH + 1):
        desk.user = f"user{step}"
        one, two = desk.folder(f"one{step}"), desk.folder(f"two{step}")
        content = random_file(one / "a", PARTS * MIB)
        first, second = Meter(fuse=Fuse(step)), Meter()
        assert await desk.survives("push", one, first) == (step == STEPS_OF_A_PUSH)
        assert await desk.survives("push", one, second)
        again = set(first.sent) & set(second.sent)
        # The one that was stored but not acknowledged, and no other.
        assert len(again) == (step in (3, 5))
        assert all(first.bodies[file] == second.bodies[file] for file in again)
        assert len(set(first.sent) | set(second.sent)) == PARTS
        assert (await desk.stored(), await desk.live_records()) == (PARTS, 2)
        await desk.run("pull", two)
        assert files(two) == {"a": content}


async def test_a_pull_that_was_killed_anywhere_goes_on_without_fetching_a_part_twice(desk: Desk) -> None:
    one = desk.folder("one")
    content = random_file(one / "a", PARTS * MIB)
    await desk.run("push", one)
    for step in range(STEPS_OF_A_PULL + 1):
        two = desk.folder(f"two{step}")
        first, second = Meter(fuse=Fuse(step)), Meter()
        assert await desk.survives("pull", two, first) == (step == STEPS_OF_A_PULL)
        assert files(two) in ({}, {"a": content})
        await desk.run("pull", two, second)
        again = set(first.fetched) & set(second.fetched)
        assert len(again) == (step in (1, 3))
        assert files(two) == {"a": content}
        assert os.listdir(two / ".less-sync" / "partial") == []
        meter = Meter()
        await desk.run("pull", two, meter)
        assert meter.fetched == []


@pytest.mark.parametrize("change", ["edited", "deleted", "renamed", "shrunk"])
async def test_what_a_killed_push_has_left_is_used_or_freed(desk: Desk, change: str) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "a", PARTS * MIB)
    first, second = Meter(fuse=Fuse(4)), Meter()
    assert not await desk.survives("push", one, first)
    assert (await desk.stored(), await desk.live_records()) == (1, 1)
    match change:
        case "edited":
            random_file(one / "a", MIB)
        case "deleted":
            (one / "a").unlink()
        case "renamed":
            (one / "a").rename(one / "b")
        case "shrunk":
            (one / "a").write_bytes(b"small")
    await desk.run("push", one, second)
    left = {"edited": (1, 2), "deleted": (0, 0), "renamed": (PARTS, 2), "shrunk": (0, 1)}
    assert (await desk.stored(), await desk.live_records()) == left[change]
    assert len(second.sent) == {"edited": 1, "renamed": 1}.get(change, 0)
    await desk.run("pull", two)
    assert files(two) == files(one)


async def test_a_file_that_changes_while_it_is_sent_is_never_encrypted_twice_under_one_key(
    desk: Desk,
) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "a", PARTS * MIB)
    meter = Meter()

    async def change() -> None:
        random_file(one / "a", PARTS * MIB)

    meter.after = change
    pushed = await desk.run("push", one, meter)
    assert pushed.told(Kind.PUSHED) == ["a"]
    assert all(len(bodies) == 1 for bodies in meter.bodies.values())
    assert len(meter.sent) == 1 + PARTS  # the first part of what it was, then what it is
    assert (await desk.stored(), await desk.live_records()) == (PARTS, 2)
    await desk.run("pull", two)
    assert files(two) == files(one)


async def test_a_file_that_always_changes_is_named_and_leaves_nothing(desk: Desk) -> None:
    one = desk.folder("one")
    random_file(one / "a", PARTS * MIB)
    meter = Meter()

    async def change() -> None:
        random_file(one / "a", PARTS * MIB)
        meter.after = change

    meter.after = change
    pushed = await desk.run("push", one, meter)
    assert (pushed.told(Kind.SKIPPED), pushed.details(Kind.SKIPPED)) == (["a"], ["it is being written"])
    assert len(meter.sent) == 4
    meter.after = None
    await desk.run("push", one)
    assert (await desk.stored(), await desk.live_records()) == (PARTS, 2)


async def test_a_download_that_nobody_wants_any_more_is_removed(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "a", PARTS * MIB)
    await desk.run("push", one)
    assert not await desk.survives("pull", two, Meter(fuse=Fuse(2)))
    assert len(os.listdir(two / ".less-sync" / "partial")) == 1
    (one / "a").write_bytes(b"small now")
    await desk.run("push", one)
    await desk.run("pull", two)
    assert files(two) == {"a": b"small now"}
    assert os.listdir(two / ".less-sync" / "partial") == []


async def test_a_download_that_was_damaged_on_the_disk_is_not_placed(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    content = random_file(one / "a", PARTS * MIB)
    await desk.run("push", one)
    assert not await desk.survives("pull", two, Meter(fuse=Fuse(2)))
    (partial,) = (two / ".less-sync" / "partial").iterdir()
    with partial.open("r+b") as file:
        file.seek(100)
        file.write(b"damaged")
    pulled = await desk.run("pull", two)
    assert pulled.details(Kind.SKIPPED) == ["its content is not what its record says"]
    assert files(two) == {}
    await desk.run("pull", two)
    assert files(two) == {"a": content}


async def test_a_file_edited_after_a_kill_while_it_was_placed_is_not_written_over(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    content = random_file(one / "a", PARTS * MIB)
    await desk.run("push", one)
    assert not await desk.survives("pull", two, Meter(fuse=Fuse(4)))  # all parts are here, none in place
    (partial,) = (two / ".less-sync" / "partial").iterdir()
    os.link(partial, two / "a")  # where a kill leaves it under both names
    with (two / "a").open("ab") as file:
        file.write(b"an edit in place")
    for _ in range(2):
        await desk.run("pull", two)
    assert sorted(files(two).values()) == sorted([content, content + b"an edit in place"])
