"""A function of a later release may answer what this release does not know (docs/storage.md 3.3)."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    DekKind,
    PostgresDekStore,
    PostgresEpochStore,
    PostgresMemberStore,
    PostgresPool,
    PostgresRevocationStore,
    PushLanes,
    PushOutcome,
    StorageError,
    Unavailable,
)
from tests.storage.rows import DEK
from tests.storage.support import execute, make_push, select, shared_space, started, submit, written

Call = Callable[[PostgresPool, UUID], Awaitable[object]]

CALLS: list[tuple[str, Call]] = [
    (
        "lsync_append_member_v1",
        lambda pool, space: PostgresMemberStore(pool).append(
            space, expected_version=0, prev_hash=None, entry_hash=b"h", payload=b"p"
        ),
    ),
    (
        "lsync_advance_epoch_v1",
        lambda pool, space: PostgresEpochStore(pool).advance(space, 2, set_min=True),
    ),
    ("lsync_complete_rewrap_v1", lambda pool, space: PostgresEpochStore(pool).complete(space, 2)),
    ("lsync_revoke_v1", lambda pool, space: PostgresRevocationStore(pool).revoke(space, "cid")),
    (
        "lsync_rewrap_v1",
        lambda pool, space: PostgresDekStore(pool).rewrap(DekKind.RECORDS, space, [uuid4()], [DEK]),
    ),
]


async def replace(pool: PostgresPool, function: str, body: str) -> None:
    """Give a function of the schema another body, under the same signature."""
    [row] = await select(
        pool,
        "SELECT pg_get_function_arguments(oid), pg_get_function_result(oid) FROM pg_proc WHERE proname = $1",
        function,
    )
    arguments, result = row
    await execute(
        pool,
        f"CREATE OR REPLACE FUNCTION {function}({arguments}) RETURNS {result}"
        f" LANGUAGE plpgsql AS $$ {body} $$",
    )


async def keep_a_copy(pool: PostgresPool, function: str, name: str) -> None:
    [row] = await select(pool, "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = $1", function)
    await execute(pool, row[0].replace(function, name))


@pytest.fixture
async def later_lanes(pool: PostgresPool) -> None:
    """Make the push function answer 99 to the client 'later', after writing what it was given."""
    await keep_a_copy(pool, "lsync_push_v1", "lsync_push_known")
    await replace(
        pool,
        "lsync_push_v1",
        """BEGIN
             SELECT f.* INTO status, new_cursor, key_gen, rewrap, file_ids, file_records
             FROM lsync_push_known(p_space, p_ids, p_expected, p_blobs, p_deks, p_client, p_cids,
                                   p_min_epoch, p_local_only) f;
             IF p_client = 'later' THEN status := 99; END IF;
           END""",
    )


@pytest.mark.usefixtures("later_lanes")
async def test_an_unknown_status_of_a_push_is_an_error_of_that_push_alone(pool: PostgresPool) -> None:
    space, answered = uuid4(), list[int]()
    async with started(pool, lanes=1) as lanes:
        # Together in one statement, that of the neighbouring space too.
        futures = [submit_as(lanes, space, client) for client in ("c", "c", "later", "c")]
        futures.append(submit_as(lanes, uuid4(), "c"))
        for index, future in enumerate(futures[:4]):
            future.add_done_callback(lambda _, index=index: answered.append(index))  # type: ignore[misc]
        results = await asyncio.wait_for(asyncio.gather(*futures), 20)
        assert [getattr(result, "cursor", type(result)) for result in results] == [1, 2, StorageError, 4, 1]
        assert "99" in str(results[2])
        await asyncio.sleep(0)
        assert answered == [0, 1, 2, 3]


@pytest.mark.usefixtures("later_lanes")
async def test_a_lane_goes_on_after_a_lonely_push_with_an_unknown_status(pool: PostgresPool) -> None:
    space = uuid4()
    async with started(pool, lanes=1) as lanes:
        result = await asyncio.wait_for(submit_as(lanes, space, "later"), 20)
        assert type(result) is StorageError
        assert await asyncio.wait_for(written(lanes, space, (uuid4(), 0, b"x")), 20) == 2


def submit_as(lanes: PushLanes, space: UUID, client: str) -> "asyncio.Future[PushOutcome | StorageError]":
    return submit(lanes, make_push(space, (uuid4(), 0, b"x"), client=client))


@pytest.mark.parametrize(("function", "call"), CALLS, ids=[name for name, _ in CALLS])
async def test_an_unknown_status_of_any_other_change_is_a_storage_error(
    pool: PostgresPool, function: str, call: Call
) -> None:
    space = await shared_space(pool)
    await replace(pool, function, "BEGIN status := 99; END")
    with pytest.raises(StorageError, match="99") as caught:
        await call(pool, space)
    assert not isinstance(caught.value, Unavailable)


async def test_a_rewrap_refused_for_an_unknown_reason_is_a_storage_error(pool: PostgresPool) -> None:
    space = await shared_space(pool)
    await replace(pool, "lsync_rewrap_v1", "BEGIN status := 1; END")
    with pytest.raises(StorageError, match="without a reason"):
        await PostgresDekStore(pool).rewrap(DekKind.RECORDS, space, [uuid4()], [DEK])
