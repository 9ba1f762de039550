"""Epochs, docs/storage.md 5.3."""

import asyncio
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    AdvanceOutcome,
    Caller,
    CompleteOutcome,
    EpochStatus,
    PostgresEpochStore,
    PostgresPool,
    PostgresSpaceStore,
    PushLanes,
)
from tests.storage.support import rows, written

CONFLICT = EpochStatus.CONFLICT


@pytest.fixture
def epochs(pool: PostgresPool) -> PostgresEpochStore:
    return PostgresEpochStore(pool)


@pytest.fixture
async def space(spaces: PostgresSpaceStore) -> UUID:
    return (await spaces.create_space(uuid4(), "client", None)).id


async def state(spaces: PostgresSpaceStore, space: UUID) -> tuple[int, int | None, int, int]:
    row = (await spaces.get_spaces([space]))[space]
    return row.key_generation, row.rewrap_epoch, row.min_key_generation, row.cursor


async def test_an_epoch_begins_ends_and_the_next_one_begins(
    epochs: PostgresEpochStore, spaces: PostgresSpaceStore, space: UUID
) -> None:
    done = EpochStatus.DONE
    assert await epochs.advance(space, 2, set_min=False) == AdvanceOutcome(done, 2, 2)
    assert await state(spaces, space) == (2, 2, 1, 0)
    assert await epochs.advance(space, 3, set_min=True) == AdvanceOutcome(CONFLICT, 2, 2)
    assert await epochs.complete(space, 2) == CompleteOutcome(done)
    assert await state(spaces, space) == (2, None, 1, 0)
    assert await epochs.advance(space, 3, set_min=True) == AdvanceOutcome(done, 3, 3)
    assert await state(spaces, space) == (3, 3, 3, 0)


async def test_without_asking_the_lowest_epoch_stays_what_it_was(
    epochs: PostgresEpochStore, spaces: PostgresSpaceStore, space: UUID
) -> None:
    await epochs.advance(space, 2, set_min=True)
    await epochs.complete(space, 2)
    await epochs.advance(space, 3, set_min=False)
    assert await state(spaces, space) == (3, 3, 2, 0)


@pytest.mark.parametrize("epoch", [3, 1, 0, -1, -(2**31), 2**31 - 1])
async def test_any_epoch_but_the_next_is_a_conflict(
    epochs: PostgresEpochStore, spaces: PostgresSpaceStore, space: UUID, epoch: int
) -> None:
    assert await epochs.advance(space, epoch, set_min=True) == AdvanceOutcome(CONFLICT, 1, None)
    assert await state(spaces, space) == (1, None, 1, 0)


async def test_the_last_epoch_there_is_can_be_reached_and_not_passed(
    pool: PostgresPool, epochs: PostgresEpochStore, space: UUID
) -> None:
    last = 2**31 - 1
    await rows(pool).set_space(space, key_generation=last - 1)
    assert await epochs.advance(space, last, set_min=False) == AdvanceOutcome(EpochStatus.DONE, last, last)
    await epochs.complete(space, last)
    assert await epochs.advance(space, -(2**31), set_min=False) == AdvanceOutcome(CONFLICT, last, None)


async def test_completing_what_is_not_pending_is_a_conflict(
    epochs: PostgresEpochStore, spaces: PostgresSpaceStore, space: UUID
) -> None:
    assert (await epochs.complete(space, 1)).status is CONFLICT
    await epochs.advance(space, 2, set_min=False)
    for epoch in (1, 3, 0, -(2**31)):
        assert await epochs.complete(space, epoch) == CompleteOutcome(CONFLICT)
    assert await state(spaces, space) == (2, 2, 1, 0)


async def test_a_missing_space_has_no_epochs(epochs: PostgresEpochStore) -> None:
    assert await epochs.advance(uuid4(), 2, set_min=False) == AdvanceOutcome(EpochStatus.NO_SPACE)
    assert await epochs.complete(uuid4(), 2) == CompleteOutcome(EpochStatus.NO_SPACE)


async def test_the_owner_of_a_missing_personal_space_begins_at_epoch_one(
    epochs: PostgresEpochStore, spaces: PostgresSpaceStore
) -> None:
    space = uuid4()
    outcome = await epochs.advance(space, 2, set_min=False, caller=Caller(client="owner"))
    assert outcome == AdvanceOutcome(EpochStatus.DONE, 2, 2)
    assert await state(spaces, space) == (2, 2, 1, 0)


async def test_of_two_advances_at_once_one_wins_and_the_other_is_told_what_beat_it(
    epochs: PostgresEpochStore, space: UUID
) -> None:
    for epoch in range(2, 12):
        one, two = await asyncio.gather(
            epochs.advance(space, epoch, set_min=False), epochs.advance(space, epoch, set_min=False)
        )
        assert {one.status, two.status} == {EpochStatus.DONE, CONFLICT}
        assert (
            (one.current_epoch, one.rewrap_epoch) == (two.current_epoch, two.rewrap_epoch) == (epoch, epoch)
        )
        await epochs.complete(space, epoch)


async def test_completing_counts_the_deks_of_other_epochs_and_refuses_none(
    pool: PostgresPool, epochs: PostgresEpochStore, lanes: PushLanes, space: UUID
) -> None:
    stale, fresh, gone, bare = (uuid4() for _ in range(4))
    await written(lanes, space, (stale, 0, b"x"), (gone, 0, None))
    await written(lanes, space, (fresh, 0, b"x"), dek=(2).to_bytes(4, "big") + bytes(40))
    await written(lanes, space, (bare, 0, b"x"), dek=None)
    await rows(pool).add_file(space, stale, cursor=4)
    await epochs.advance(space, 2, set_min=False)
    assert await epochs.complete(space, 2) == CompleteOutcome(EpochStatus.DONE, stale_deks=3)
