"""What one push may do: docs/storage.md 4.1."""

from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    PostgresPool,
    PostgresPullStore,
    PostgresRevocationStore,
    PostgresSpaceStore,
    PushLanes,
    PushOutcome,
    PushStatus,
)
from tests.storage.rows import DEK
from tests.storage.support import Change, make_push, pulled, rows, shared_space, write, written

CONFLICT = PushOutcome(PushStatus.CONFLICT, 0, 1)


async def try_changes(lanes: PushLanes, space: UUID, *changes: Change) -> PushOutcome:
    return await write(lanes, make_push(space, *changes, client="client"))


async def test_the_first_push_gets_cursor_one(lanes: PushLanes, spaces: PostgresSpaceStore) -> None:
    space = uuid4()
    outcome = await try_changes(lanes, space, (uuid4(), 0, b"x"))
    assert outcome == PushOutcome(PushStatus.WRITTEN, 1, 1)
    assert (await spaces.get_spaces([space]))[space].cursor == 1


async def test_creating_a_record_that_exists_conflicts(lanes: PushLanes) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    assert await try_changes(lanes, space, (record, 0, b"y")) == CONFLICT


async def test_an_update_with_the_current_cursor_replaces_the_blob(
    lanes: PushLanes, pulls: PostgresPullStore
) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    assert await written(lanes, space, (record, 1, b"y")) == 2
    _, rows = await pulled(pulls, space, 0)
    assert rows == [(1, 2, record, b"y", DEK, None, None, None, False)]


@pytest.mark.parametrize("expected", [1, 3, -1, 2**63 - 1, -(2**63)])
async def test_an_update_with_another_cursor_conflicts(lanes: PushLanes, expected: int) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    await written(lanes, space, (record, 1, b"y"))
    assert await try_changes(lanes, space, (record, expected, b"z")) == CONFLICT


async def test_an_update_of_an_unknown_record_conflicts(lanes: PushLanes) -> None:
    assert await try_changes(lanes, uuid4(), (uuid4(), 1, b"x")) == CONFLICT


async def test_a_tombstone_is_revived_by_its_cursor_and_not_by_zero(
    lanes: PushLanes, pulls: PostgresPullStore
) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    await written(lanes, space, (record, 1, None))
    assert await try_changes(lanes, space, (record, 0, b"y")) == CONFLICT
    assert await written(lanes, space, (record, 2, b"y")) == 3
    _, rows = await pulled(pulls, space, 0)
    assert [row[2:4] for row in rows] == [(record, b"y")]


async def test_a_tombstone_of_an_unknown_record_is_stored(lanes: PushLanes, pulls: PostgresPullStore) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (uuid4(), 0, b"x"))
    await written(lanes, space, (record, 0, None))
    _, rows = await pulled(pulls, space, 1)
    assert rows == [(1, 2, record, None, DEK, None, None, None, True)]


async def test_one_bad_change_among_good_ones_stores_nothing(
    lanes: PushLanes, pulls: PostgresPullStore
) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    outcome = await try_changes(
        lanes, space, (uuid4(), 0, b"a"), (record, 1, b"b"), (uuid4(), 7, b"c"), (uuid4(), 0, None)
    )
    assert outcome == CONFLICT
    meta, rows = await pulled(pulls, space, 0)
    assert meta.cursor == 1
    assert [row[2:4] for row in rows] == [(record, b"x")]


async def test_all_changes_of_a_push_share_one_cursor(lanes: PushLanes, pulls: PostgresPullStore) -> None:
    space, old = uuid4(), uuid4()
    await written(lanes, space, (old, 0, b"x"))
    await written(lanes, space, (uuid4(), 0, b"a"), (old, 1, b"b"), (uuid4(), 0, b"c"))
    _, rows = await pulled(pulls, space, 0)
    assert [row[1] for row in rows] == [2, 2, 2]


async def test_a_push_without_a_client_does_not_make_the_space(
    lanes: PushLanes, spaces: PostgresSpaceStore
) -> None:
    space = uuid4()
    outcome = await write(lanes, make_push(space, (uuid4(), 0, b"x")))
    assert outcome == PushOutcome(PushStatus.NO_SPACE)
    assert await write(lanes, make_push(space)) == PushOutcome(PushStatus.NO_SPACE)
    assert await spaces.get_spaces([space]) == {}


async def test_a_personal_push_makes_its_space(lanes: PushLanes, spaces: PostgresSpaceStore) -> None:
    space = uuid4()
    await written(lanes, space, (uuid4(), 0, b"x"))
    made = (await spaces.get_spaces([space]))[space]
    assert (made.client_id, made.root_public_key) == ("client", None)


async def test_an_empty_push_reports_the_cursor_and_moves_nothing(lanes: PushLanes) -> None:
    space = uuid4()
    await written(lanes, space, (uuid4(), 0, b"x"))
    assert await write(lanes, make_push(space)) == PushOutcome(PushStatus.WRITTEN, 1, 1)
    assert await written(lanes, space, (uuid4(), 0, b"x")) == 2


async def test_an_empty_blob_is_a_live_record(lanes: PushLanes, pulls: PostgresPullStore) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b""))
    _, rows = await pulled(pulls, space, 0)
    assert rows == [(1, 1, record, b"", DEK, None, None, None, False)]


@pytest.mark.parametrize("blob", [b"y", None])
@pytest.mark.parametrize("dek", [DEK, b"short", b"", None])
async def test_the_stored_dek_is_always_that_of_the_last_push(
    lanes: PushLanes, pool: PostgresPool, blob: bytes | None, dek: bytes | None
) -> None:
    space, record = uuid4(), uuid4()
    await written(lanes, space, (record, 0, b"x"))
    await written(lanes, space, (record, 1, blob), dek=dek)
    assert await rows(pool).records([space]) == [(record, space, blob, dek, 2, blob is None)]


async def test_a_blob_of_five_mebibytes_is_stored(lanes: PushLanes, pulls: PostgresPullStore) -> None:
    space, blob = uuid4(), bytes(5 * 1024 * 1024)
    await written(lanes, space, (uuid4(), 0, blob))
    _, [row] = await pulled(pulls, space, 0)
    assert row[3] == blob


async def test_a_push_far_beyond_one_statements_bytes_is_stored(lanes: PushLanes, pool: PostgresPool) -> None:
    space, blob = uuid4(), bytes(3 * 1024 * 1024)
    await written(lanes, space, *((uuid4(), 0, blob) for _ in range(7)))
    assert [row.blob for row in await rows(pool).records([space])] == [blob] * 7


async def test_an_epoch_below_the_minimum_of_a_shared_space_is_stale(
    lanes: PushLanes, pool: PostgresPool
) -> None:
    space = await shared_space(pool, min_epoch=2)
    stale = await write(lanes, make_push(space, (uuid4(), 0, b"x"), min_epoch=1))
    assert stale == PushOutcome(PushStatus.STALE_EPOCH, 0, 2)
    for cursor, epoch in enumerate([2, 3, None], start=1):
        outcome = await write(lanes, make_push(space, (uuid4(), 0, b"x"), min_epoch=epoch))
        assert outcome == PushOutcome(PushStatus.WRITTEN, cursor, 2)


async def test_epochs_do_not_matter_without_a_minimum(lanes: PushLanes, pool: PostgresPool) -> None:
    first = await shared_space(pool, min_epoch=1)
    assert (await write(lanes, make_push(first, (uuid4(), 0, b"x"), min_epoch=0))).status == 0
    personal = uuid4()
    await written(lanes, personal, (uuid4(), 0, b"x"))
    await rows(pool).set_space(personal, min_key_generation=5)
    push = make_push(personal, (uuid4(), 0, b"x"), client="client", min_epoch=1)
    assert (await write(lanes, push)).status is PushStatus.WRITTEN


async def test_a_revoked_token_in_the_chain_writes_nothing(lanes: PushLanes, pool: PostgresPool) -> None:
    space = await shared_space(pool)
    await PostgresRevocationStore(pool).revoke(space, "bad")
    refused = make_push(space, (uuid4(), 0, b"x"), cids=["good", "bad"])
    assert (await write(lanes, refused)).status is PushStatus.REVOKED
    allowed = make_push(space, (uuid4(), 0, b"x"), cids=["good"])
    assert await write(lanes, allowed) == PushOutcome(PushStatus.WRITTEN, 1, 1)


async def test_a_space_at_home_elsewhere_is_written_only_when_asked_to(
    lanes: PushLanes, pool: PostgresPool
) -> None:
    space = await shared_space(pool)
    await rows(pool).set_space(space, home_server="peer.example")
    remote = make_push(space, (uuid4(), 0, b"x"), local_only=True)
    assert (await write(lanes, remote)).status is PushStatus.REMOTE_HOME
    assert (await write(lanes, make_push(space, (uuid4(), 0, b"x")))).cursor == 1


async def test_the_personal_path_does_not_open_a_shared_space(lanes: PushLanes, pool: PostgresPool) -> None:
    space = await shared_space(pool)
    outcome = await write(lanes, make_push(space, (uuid4(), 0, b"x"), client="client"))
    assert outcome == PushOutcome(PushStatus.NOT_PERSONAL, 0, 1)


async def test_the_rewrap_epoch_comes_with_the_outcome(lanes: PushLanes, pool: PostgresPool) -> None:
    space = await shared_space(pool, min_epoch=1)
    await rows(pool).set_space(space, key_generation=3, rewrap_epoch=3)
    outcome = await write(lanes, make_push(space, (uuid4(), 0, b"x")))
    assert outcome == PushOutcome(PushStatus.WRITTEN, 1, 3, 3)
