"""What a node compares itself with, and reads when it has missed something (docs/storage.md 7.7)."""

from uuid import uuid4

import pytest

from less_sync.storage import (
    MEMBER,
    RECORD,
    PostgresInvitationStore,
    PostgresMemberStore,
    PostgresNewsStore,
    PostgresPool,
    PostgresRevocationStore,
    PushLanes,
    PushStatus,
)
from tests.storage.support import make_push, shared_space, write

MANY = 2**62


@pytest.fixture
def news(pool: PostgresPool) -> PostgresNewsStore:
    return PostgresNewsStore(pool)


async def test_spaces_are_compared_by_cursor_home_and_number_of_revocations(
    pool: PostgresPool, lanes: PushLanes, news: PostgresNewsStore
) -> None:
    one, two = await shared_space(pool), await shared_space(pool)
    assert (await write(lanes, make_push(one, (uuid4(), 0, b"one")))).status is PushStatus.WRITTEN
    revocations = PostgresRevocationStore(pool)
    for cid in ("a", "b", "a"):
        await revocations.revoke(two, cid)
    assert await news.compare([one, two, uuid4()]) == {one: (1, None, 0), two: (0, None, 2)}
    assert await news.compare([]) == {}


async def test_what_was_written_between_two_cursors_comes_in_order_within_bounds(
    pool: PostgresPool, lanes: PushLanes, news: PostgresNewsStore
) -> None:
    space = await shared_space(pool)
    first, second, third = uuid4(), uuid4(), uuid4()
    await write(lanes, make_push(space, (first, 0, b"1"), (second, 0, b"2")))
    await PostgresMemberStore(pool).append(
        space, expected_version=0, prev_hash=None, entry_hash=b"h" * 32, payload=b"entry"
    )
    await write(lanes, make_push(space, (first, 1, b"3")))
    await write(lanes, make_push(space, (third, 0, b"4")))

    async def read(above: int, up_to: int, rows: int = 10, size: int = 1000) -> list[tuple[int, int, object]]:
        found = await news.between(space, above, up_to, rows_max=rows, bytes_max=size)
        assert found is not None
        assert (found.cursor, found.key_generation, found.rewrap_epoch) == (4, 1, None)
        return [] if found.entries is None else [(kind, at, id) for kind, at, id, *_ in found.entries]

    everything = [(RECORD, 1, second), (MEMBER, 2, None), (RECORD, 3, first), (RECORD, 4, third)]
    assert await read(0, MANY) == everything
    assert await read(1, 3) == everything[1:3]
    assert await read(4, MANY) == []
    assert await read(0, 4, rows=4) == everything
    for rows, size in ((3, 1000), (10, 1)):
        found = await news.between(space, 0, 4, rows_max=rows, bytes_max=size)
        assert found is not None
        assert found.entries is None
        assert found.cursor == 4
    assert await news.between(uuid4(), 0, 4, rows_max=1, bytes_max=1) is None


async def test_a_tombstone_is_news(pool: PostgresPool, lanes: PushLanes, news: PostgresNewsStore) -> None:
    space, record = await shared_space(pool), uuid4()
    await write(lanes, make_push(space, (record, 0, b"1")))
    await write(lanes, make_push(space, (record, 1, None)))
    found = await news.between(space, 0, 2, rows_max=5, bytes_max=1000)
    assert found is not None
    assert found.entries is not None
    assert [(row[1], row[3], row[8]) for row in found.entries] == [(2, None, True)]


async def test_only_what_is_revoked_in_its_space_is_said_to_be(
    pool: PostgresPool, news: PostgresNewsStore
) -> None:
    here, there = await shared_space(pool), await shared_space(pool)
    await PostgresRevocationStore(pool).revoke(here, "cid")
    pairs = [(here, "cid"), (here, "other"), (there, "cid")]
    assert await news.revoked_among(pairs) == {(here, "cid")}
    assert await news.revoked_among([]) == set()


async def test_invitations_are_found_by_their_age_page_by_page(
    pool: PostgresPool, news: PostgresNewsStore
) -> None:
    invitations = PostgresInvitationStore(pool)
    stored = [await invitations.create(f"{number:064x}", b"x") for number in range(3)]
    found = await news.invited_since(30)
    assert [(one.id, one.mailbox) for one in found] == [
        (one.id, f"{number:064x}") for number, one in enumerate(stored)
    ]
    assert all(0 <= one.age_s < 30 for one in found)
    assert [one.id for one in await news.invited_since(30, found[1])] == [stored[2].id]
    assert await news.invited_since(30, found[2]) == []
    assert await news.invited_since(-1) == []
