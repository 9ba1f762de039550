"""Files of any size, over the real client, the real server and the real database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from less_sync.client.folder.report import Kind
from less_sync.storage.objects.memory import MemoryBlobs
from tests.client.folder.large import MIB, Desk, Meter, random_file
from tests.client.folder.test_engine import files
from tests.live import live_server

KIB = 1024


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    async with live_server(database_url, blobs=MemoryBlobs()) as live:
        yield Desk(live, database_url, tmp_path)


async def test_files_of_every_size_arrive_as_they_were(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    sizes = {
        "empty": 0,
        "small": 5,
        "edge": 256 * KIB,
        "over": 256 * KIB + 1,
        "a/part": MIB,
        "many": 5 * MIB + 3,
    }
    wanted = {path: random_file(one / path, size) for path, size in sizes.items()}
    sent, fetched = Meter(), Meter()
    pushed = await desk.run("push", one, sent)
    pulled = await desk.run("pull", two, fetched)
    assert files(two) == wanted
    assert (len(sent.sent), len(fetched.fetched)) == (1 + 1 + 6, 1 + 1 + 6)
    assert sorted(pushed.told(Kind.PUSHED)) == sorted(pulled.told(Kind.PULLED)) == sorted(sizes)
    assert {event.path: event.size_bytes for event in pulled.events} == sizes
    assert [path.stat().st_mtime_ns for path in (one / "many", two / "many")] == [
        (one / "many").stat().st_mtime_ns
    ] * 2
    for folder in (one, two):
        for verb in ("push", "pull"):
            meter = Meter()
            assert (await desk.run(verb, folder, meter)).events == []
            assert (meter.sent, meter.fetched) == ([], [])


async def test_an_edit_a_deletion_and_a_file_that_shrinks_free_what_was_stored(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    for name in ("edited", "deleted", "shrinks", "renamed"):
        random_file(one / name, MIB + 1)
    await desk.run("push", one)
    await desk.run("pull", two)
    assert (await desk.stored(), await desk.live_records()) == (8, 8)
    edited = random_file(one / "edited", 2 * MIB + 1)
    (one / "deleted").unlink()
    (one / "shrinks").write_bytes(b"small now")
    (one / "renamed").rename(one / "other name")
    pushed = await desk.run("push", one)
    assert (await desk.stored(), await desk.live_records()) == (3 + 2, 2 + 2 + 3)
    assert sorted(pushed.told(Kind.PUSHED)) == ["edited", "other name", "shrinks"]
    assert sorted(pushed.told(Kind.DELETED_THERE)) == ["deleted", "renamed"]
    await desk.run("pull", two)
    assert files(two) == files(one)
    assert files(two)["edited"] == edited
    random_file(two / "edited", 256 * KIB + 1)  # by the other device, which only pulled it
    await desk.run("push", two)
    await desk.run("pull", one)
    assert (await desk.stored(), files(one)) == (1 + 2, files(two))


async def test_an_edit_on_both_sides_keeps_both_and_sends_nothing_twice(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "a", MIB)
    await desk.run("push", one)
    await desk.run("pull", two)
    theirs, ours = random_file(one / "a", 2 * MIB), random_file(two / "a", 3 * MIB)
    await desk.run("push", one)
    refused = await desk.run("push", two)
    assert refused.told(Kind.SKIPPED) == ["a"]
    pulled, sent = await desk.run("pull", two), Meter()
    ((copy,), (path,)) = (pulled.details(Kind.CONFLICT), pulled.told(Kind.CONFLICT))
    assert (path, files(two)) == ("a", {"a": theirs, copy: ours})
    await desk.run("push", two, sent)
    await desk.run("pull", one)
    assert (files(one), len(sent.sent)) == (files(two), 3)
    assert await desk.stored() == 2 + 3


async def test_a_push_that_lost_the_race_goes_on_with_what_it_has_sent(desk: Desk) -> None:
    """The other device pushes the path while ours is on its way: only the pointer is refused."""
    one, two = desk.folder("one"), desk.folder("two")
    theirs, ours = random_file(one / "a", 300 * KIB), random_file(two / "a", 3 * MIB)

    async def script() -> None:
        await desk.run("push", one)

    meter = Meter(after=script)
    refused = await desk.run("push", two, meter)
    assert (refused.told(Kind.SKIPPED), len(meter.sent)) == (["a"], 3)
    assert await desk.stored() == 1 + 3
    pulled, sent = await desk.run("pull", two), Meter()
    (copy,) = pulled.details(Kind.CONFLICT)
    await desk.run("push", two, sent)
    await desk.run("pull", one)
    assert files(one) == files(two) == {"a": theirs, copy: ours}
    assert (sent.sent, await desk.stored()) == ([], 1 + 3)
