"""Files of any size, over the real client, the real server and the real database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.look import list_files, would_pull, would_push
from less_sync.client.folder.report import Kind
from less_sync.storage.objects.memory import MemoryBlobs
from tests.client.folder.large import KEY, MIB, Desk, Meter, random_file
from tests.client.folder.test_engine import Log, eventually, files
from tests.live import claims, live_server

KIB = 1024
SPACE = UUID(claims("alice")["personal_space_id"])


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


async def test_two_watched_folders_follow_each_other_with_large_files(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    logs = Log(), Log()
    async with desk.engine(one, logs[0]) as first, desk.engine(two, logs[1]) as second:
        tasks = [asyncio.create_task(engine.watch()) for engine in (first, second)]
        await eventually(lambda: all(log.told(Kind.WATCHING) for log in logs))
        random_file(one / "a", 2 * MIB)
        (two / "b").write_text("small")
        await eventually(lambda: len(files(two)) == 2 and files(one) == files(two))
        random_file(two / "a", MIB)
        await eventually(lambda: len(files(one)["a"]) == MIB and files(one) == files(two))
        (one / "a").unlink()
        await eventually(lambda: "a" not in files(two))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert [log.told(Kind.CONFLICT) for log in logs] == [[], []]
    assert (await desk.stored(), await desk.live_records()) == (0, 2)


async def test_who_only_looks_downloads_nothing_and_is_told_sizes(desk: Desk) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    random_file(one / "a", 2 * MIB)
    log = Log()
    async with desk.exchange(one, log, meter) as exchange:
        await would_push(exchange, log.tell)
    assert [(event.kind, event.size_bytes) for event in log.events] == [(Kind.PUSHED, 2 * MIB)]
    assert (meter.sent, await desk.live_records()) == ([], 0)
    await desk.run("push", one)
    log = Log()
    async with desk.exchange(two, log, meter) as exchange:
        await would_pull(exchange)
        (listed,) = await list_files(exchange, RecordCipher(KEY, SPACE), log.tell)
    assert [(event.kind, event.size_bytes) for event in log.events] == [(Kind.PULLED, 2 * MIB)]
    assert (listed.path, listed.size_bytes, meter.fetched, files(two)) == ("a", 2 * MIB, [], {})


async def test_an_older_version_of_a_large_file_is_refused_and_pushed_over(desk: Desk) -> None:
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "a", MIB)
    await desk.run("push", one)
    (former,) = await desk.rows("SELECT blob, wrapped_dek FROM records ORDER BY cursor DESC LIMIT 1")
    random_file(one / "a", 2 * MIB)
    await desk.run("push", one)
    connection = await asyncpg.connect(desk.database_url)
    await connection.execute(
        "UPDATE records SET blob = $1, wrapped_dek = $2, cursor = cursor + 100"
        " WHERE cursor = (SELECT max(cursor) FROM records WHERE blob IS NOT NULL)",
        former["blob"],
        former["wrapped_dek"],
    )
    await connection.execute("UPDATE spaces SET cursor = cursor + 200")
    await connection.close()
    meter = Meter()
    assert (await desk.run("pull", one, meter)).told(Kind.ROLLED_BACK) == ["a"]
    await desk.run("push", one, meter)
    assert (len(meter.sent), meter.fetched) == (2, [])
    await desk.run("pull", two)
    assert files(two) == files(one)


async def test_what_no_record_can_hold_goes_to_storage_whatever_the_setting(desk: Desk) -> None:
    desk.above_bytes = 1024 * MIB
    one, two = desk.folder("one"), desk.folder("two")
    random_file(one / "large", 5 * MIB)
    random_file(one / "medium", 3 * MIB)
    assert (await desk.run("push", one)).told(Kind.PUSHED) == ["medium", "large"]
    assert await desk.stored() == 5
    await desk.run("pull", two)
    assert files(two) == files(one)


async def test_a_content_that_the_server_deletes_is_pushed_again_by_who_has_the_file(desk: Desk) -> None:
    one, two, meter = desk.folder("one"), desk.folder("two"), Meter()
    random_file(one / "a", 2 * MIB)
    await desk.run("push", one)
    await desk.rows(
        "WITH moved AS (UPDATE spaces SET cursor = cursor + 1 RETURNING cursor)"
        " UPDATE records SET blob = NULL, wrapped_dek = NULL, cursor = (SELECT cursor FROM moved)"
        " WHERE cursor = (SELECT min(cursor) FROM records)"
    )
    assert (await desk.run("pull", two)).details(Kind.SKIPPED)[0] == "its content is not on the server"
    assert (await desk.run("push", one, meter)).told(Kind.PUSHED) == ["a"]
    assert len(meter.sent) == 2
    await desk.run("pull", two)
    assert files(two) == files(one)
    meter = Meter()
    assert (await desk.run("push", one, meter)).told(Kind.PUSHED) == []
