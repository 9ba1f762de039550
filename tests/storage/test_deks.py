"""Re-wrapping of DEKs, docs/storage.md 5.4."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    DekKind,
    EpochStatus,
    PostgresDekStore,
    PostgresEpochStore,
    PostgresPool,
    PostgresSpaceStore,
    PushLanes,
    RewrapStatus,
)
from tests.storage.rows import DEK
from tests.storage.support import rows, written

RECORDS, FILES = DekKind.RECORDS, DekKind.FILES
each_kind = pytest.mark.parametrize("kind", list(DekKind))


def dek(epoch: int, fill: int = 0) -> bytes:
    return epoch.to_bytes(4, "big", signed=True) + bytes([fill]) * 40


@pytest.fixture
def deks(pool: PostgresPool) -> PostgresDekStore:
    return PostgresDekStore(pool)


@pytest.fixture
async def space(spaces: PostgresSpaceStore) -> UUID:
    return (await spaces.create_space(uuid4(), "client", None)).id


async def rows_of(pool: PostgresPool, lanes: PushLanes, space: UUID, count: int) -> list[UUID]:
    """Push records one by one, so at cursors 1, 2 ..., with a file of the same id and cursor each."""
    ids = [uuid4() for _ in range(count)]
    for id in ids:
        cursor = await written(lanes, space, (id, 0, b"x"))
        await rows(pool).add_file(space, id, id=id, cursor=cursor)
    return ids


async def stored(pool: PostgresPool, kind: DekKind, ids: Sequence[UUID]) -> list[bytes | None]:
    found: dict[UUID, bytes | None] = (
        {row.id: row.dek for row in await rows(pool).files()}
        if kind is FILES
        else {row.id: row.dek for row in await rows(pool).records()}
    )
    return [found[id] for id in ids]


@each_kind
async def test_rewrapping_stores_the_deks_and_moves_no_cursor(
    pool: PostgresPool,
    lanes: PushLanes,
    deks: PostgresDekStore,
    spaces: PostgresSpaceStore,
    space: UUID,
    kind: DekKind,
) -> None:
    ids = await rows_of(pool, lanes, space, 3)
    new = [dek(1, 1), dek(1, 2)]
    assert await deks.rewrap(kind, space, ids[:2], new) is RewrapStatus.REWRAPPED
    assert await stored(pool, kind, ids) == [*new, DEK]
    other = FILES if kind is RECORDS else RECORDS
    assert await stored(pool, other, ids) == [DEK] * 3
    assert (await spaces.get_spaces([space]))[space].cursor == 3
    assert [row.cursor for row in await rows(pool).records()] == [1, 2, 3]


@each_kind
async def test_ids_may_be_text(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    ids = await rows_of(pool, lanes, space, 1)
    assert await deks.rewrap(kind, space, [str(ids[0])], [dek(1, 1)]) is RewrapStatus.REWRAPPED
    assert await stored(pool, kind, ids) == [dek(1, 1)]


@each_kind
@pytest.mark.parametrize("wrong", [dek(2), dek(0), dek(-1), b"", b"\x00\x00\x01", bytes(44)])
async def test_a_dek_of_another_epoch_is_refused(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind, wrong: bytes
) -> None:
    ids = await rows_of(pool, lanes, space, 2)
    status = await deks.rewrap(kind, space, ids, [dek(1, 1), wrong])
    assert status is RewrapStatus.EPOCH_MISMATCH
    assert await stored(pool, kind, ids) == [DEK, DEK]


@each_kind
async def test_the_epoch_must_be_the_current_one_pending_or_not(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    ids = await rows_of(pool, lanes, space, 1)
    epochs = PostgresEpochStore(pool)
    assert (await epochs.advance(space, 2, set_min=False)).status is EpochStatus.DONE
    assert await deks.rewrap(kind, space, ids, [dek(1)]) is RewrapStatus.EPOCH_MISMATCH
    assert await deks.rewrap(kind, space, ids, [dek(2, 1)]) is RewrapStatus.REWRAPPED
    assert (await epochs.complete(space, 2)).status is EpochStatus.DONE
    assert await deks.rewrap(kind, space, ids, [dek(2, 2)]) is RewrapStatus.REWRAPPED
    assert await stored(pool, kind, ids) == [dek(2, 2)]


@each_kind
async def test_one_unknown_id_undoes_everything(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    ids = await rows_of(pool, lanes, space, 2)
    status = await deks.rewrap(kind, space, [*ids, uuid4()], [dek(1, 1)] * 3)
    assert status is RewrapStatus.NOT_FOUND
    assert await stored(pool, kind, ids) == [DEK, DEK]


@each_kind
async def test_a_row_of_another_space_is_not_found(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    await rows_of(pool, lanes, uuid4(), 1)
    there = uuid4()
    others = await rows_of(pool, lanes, there, 1)
    assert await deks.rewrap(kind, space, others, [dek(1, 1)]) is RewrapStatus.NOT_FOUND
    assert await stored(pool, kind, others) == [DEK]


@each_kind
async def test_of_a_repeated_id_the_last_dek_stays(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    [one, two] = await rows_of(pool, lanes, space, 2)
    sent = [dek(1, 1), dek(1, 2), dek(1, 3), dek(1, 4)]
    assert await deks.rewrap(kind, space, [one, two, one, one], sent) is RewrapStatus.REWRAPPED
    assert await stored(pool, kind, [one, two]) == [dek(1, 4), dek(1, 2)]


async def test_the_first_wrong_entry_is_told_and_of_one_entry_the_epoch_first(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID
) -> None:
    [known] = await rows_of(pool, lanes, space, 1)
    unknown, good, bad = uuid4(), dek(1), dek(9)
    epoch, id, missing = RewrapStatus.EPOCH_MISMATCH, RewrapStatus.BAD_ID, RewrapStatus.NOT_FOUND
    cases: list[tuple[Sequence[UUID | None], Sequence[bytes], RewrapStatus]] = [
        ([unknown, known], [good, bad], missing),
        ([known, unknown], [bad, good], epoch),
        ([unknown], [bad], epoch),
        ([None], [good], id),
        ([None], [bad], epoch),
        ([known, None, unknown], [good, good, good], id),
        ([unknown, None], [good, good], missing),
        ([known, None, known], [good, good, bad], id),
        ([None, None], [good, bad], id),
        ([known, unknown, known], [bad, good, good], epoch),
        ([unknown, known, known], [good, bad, good], missing),
        ([known, unknown, known], [good, good, bad], missing),
        ([unknown, unknown], [good, bad], missing),
        ([known, known, unknown], [good, bad, good], epoch),
    ]
    for ids, sent, expected in cases:
        assert await deks.rewrap(RECORDS, space, ids, sent) is expected, (ids, expected)
    assert await stored(pool, RECORDS, [known]) == [DEK]


async def test_of_files_a_wrong_epoch_anywhere_is_told_first(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID
) -> None:
    [known] = await rows_of(pool, lanes, space, 1)
    sent = [dek(1), dek(2)]
    assert await deks.rewrap(FILES, space, [uuid4(), known], sent) is RewrapStatus.EPOCH_MISMATCH


async def test_the_nil_id_is_an_id_like_any_other(
    lanes: PushLanes, deks: PostgresDekStore, space: UUID
) -> None:
    await written(lanes, space, (UUID(int=0), 0, b"x"))
    nil = UUID(int=0)
    assert await deks.rewrap(RECORDS, space, [nil, None], [dek(1)] * 2) is RewrapStatus.BAD_ID
    assert await deks.rewrap(RECORDS, space, [nil], [dek(1)]) is RewrapStatus.REWRAPPED


async def test_a_tombstone_can_be_rewrapped_and_a_record_without_dek_gets_one(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID
) -> None:
    ids = [uuid4(), uuid4()]
    await written(lanes, space, (ids[0], 0, None))
    await written(lanes, space, (ids[1], 0, b"x"), dek=None)
    assert await deks.rewrap(RECORDS, space, ids, [dek(1, 1)] * 2) is RewrapStatus.REWRAPPED
    assert await stored(pool, RECORDS, ids) == [dek(1, 1)] * 2


@each_kind
async def test_nothing_to_rewrap_asks_nothing(pool: PostgresPool, kind: DekKind) -> None:
    deks = PostgresDekStore(pool)
    await pool.aclose(5.0)
    assert await deks.rewrap(kind, uuid4(), [], []) is RewrapStatus.REWRAPPED


@each_kind
async def test_a_missing_space_is_told(deks: PostgresDekStore, kind: DekKind) -> None:
    assert await deks.rewrap(kind, uuid4(), [uuid4()], [dek(1)]) is RewrapStatus.NO_SPACE


@each_kind
async def test_a_row_written_after_it_was_read_is_refused_and_nothing_is_written(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    ids = await rows_of(pool, lanes, space, 3)
    await PostgresEpochStore(pool).advance(space, 2, set_min=False)
    new = [dek(2, 1)] * 3
    assert await deks.rewrap(kind, space, ids, new, read_cursor=2) is RewrapStatus.CHANGED
    assert await stored(pool, kind, ids) == [DEK] * 3
    assert await deks.rewrap(kind, space, ids[:2], new[:2], read_cursor=2) is RewrapStatus.REWRAPPED
    assert await deks.rewrap(kind, space, ids[2:], new[2:]) is RewrapStatus.REWRAPPED


@each_kind
async def test_a_row_that_is_at_the_epoch_already_keeps_its_dek(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID, kind: DekKind
) -> None:
    ids = await rows_of(pool, lanes, space, 3)
    await PostgresEpochStore(pool).advance(space, 2, set_min=False)
    await deks.rewrap(kind, space, ids[1:], [dek(2, 7)] * 2)
    assert await deks.rewrap(kind, space, ids, [dek(2, 8)] * 3, read_cursor=2) is RewrapStatus.REWRAPPED
    assert await stored(pool, kind, ids) == [dek(2, 8), dek(2, 7), dek(2, 7)]


async def test_a_changed_row_yields_to_an_error_at_an_earlier_place(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID
) -> None:
    ids = await rows_of(pool, lanes, space, 2)
    await PostgresEpochStore(pool).advance(space, 2, set_min=False)
    good = [dek(2)] * 2
    unknown = uuid4()
    for sent, expected in (
        ([unknown, ids[1]], RewrapStatus.NOT_FOUND),
        ([ids[1], unknown], RewrapStatus.CHANGED),
    ):
        assert await deks.rewrap(RECORDS, space, sent, good, read_cursor=1) is expected
    wrong = [dek(1), dek(2)]
    assert (
        await deks.rewrap(RECORDS, space, [ids[1], ids[0]], wrong, read_cursor=1)
        is RewrapStatus.EPOCH_MISMATCH
    )


async def test_a_rewrap_and_a_push_of_the_same_rows_never_mix(
    pool: PostgresPool, lanes: PushLanes, deks: PostgresDekStore, space: UUID
) -> None:
    """Whichever is first: a pushed row keeps the DEK of its push, as the rewrap had not read it."""
    ids = await rows_of(pool, lanes, space, 20)
    pushes = [written(lanes, space, (id, cursor, b"new"), dek=dek(1, 9)) for cursor, id in enumerate(ids, 1)]
    await PostgresEpochStore(pool).advance(space, 2, set_min=False)
    rewraps = [deks.rewrap(RECORDS, space, [id], [dek(2, 3)], read_cursor=20) for id in ids]
    _, statuses = await asyncio.gather(asyncio.gather(*pushes), asyncio.gather(*rewraps))
    assert await stored(pool, RECORDS, ids) == [dek(1, 9)] * 20
    assert set(statuses) <= {RewrapStatus.REWRAPPED, RewrapStatus.CHANGED}
