"""Who may change a space is decided under its lock, in every mutation alike (docs/storage.md 3.1, rule 7)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import IntEnum
from typing import Final
from uuid import UUID, uuid4

import pytest

from less_sync.storage import (
    Caller,
    DekKind,
    PostgresDekStore,
    PostgresEpochStore,
    PostgresMemberStore,
    PostgresPool,
    PostgresRevocationStore,
    PostgresSpaceStore,
)
from tests.storage.support import rows, shared_space

Mutation = Callable[[PostgresPool, UUID, Caller], Awaitable[IntEnum]]
NO_SPACE, REVOKED, REMOTE_HOME, NOT_PERSONAL = 2, 5, 6, 7


async def append(pool: PostgresPool, space: UUID, caller: Caller) -> IntEnum:
    store = PostgresMemberStore(pool)
    outcome = await store.append(
        space, expected_version=0, prev_hash=None, entry_hash=b"h", payload=b"p", caller=caller
    )
    return outcome.status


async def advance(pool: PostgresPool, space: UUID, caller: Caller) -> IntEnum:
    return (await PostgresEpochStore(pool).advance(space, 2, set_min=True, caller=caller)).status


async def complete(pool: PostgresPool, space: UUID, caller: Caller) -> IntEnum:
    await rows(pool).set_space(space, rewrap_epoch=1)
    return (await PostgresEpochStore(pool).complete(space, 1, caller=caller)).status


async def rewrap_records(pool: PostgresPool, space: UUID, caller: Caller) -> IntEnum:
    return await PostgresDekStore(pool).rewrap(DekKind.RECORDS, space, [], [], caller=caller)


async def rewrap_files(pool: PostgresPool, space: UUID, caller: Caller) -> IntEnum:
    return await PostgresDekStore(pool).rewrap(DekKind.FILES, space, [], [], caller=caller)


async def revoke(pool: PostgresPool, space: UUID, caller: Caller) -> IntEnum:
    return await PostgresRevocationStore(pool).revoke(space, "new", caller=caller)


MUTATIONS: Final = [append, advance, complete, rewrap_records, rewrap_files, revoke]
each_mutation = pytest.mark.parametrize("mutate", MUTATIONS)


async def everything(pool: PostgresPool) -> list[object]:
    """All that a mutation could have written, but for what `complete` needs beforehand."""
    found = rows(pool)
    spaces = [replace(space, rewrap_epoch=None) for space in await found.spaces()]
    return [*spaces, *await found.members(), *await found.revocations()]


@each_mutation
async def test_a_caller_with_valid_tokens_may(pool: PostgresPool, mutate: Mutation) -> None:
    space = await shared_space(pool)
    await PostgresRevocationStore(pool).revoke(space, "another's")
    assert await mutate(pool, space, Caller(cids=("one", "two"), local_only=True)) == 0


@each_mutation
async def test_one_revoked_token_of_the_chain_refuses(pool: PostgresPool, mutate: Mutation) -> None:
    space = await shared_space(pool)
    await PostgresRevocationStore(pool).revoke(space, "two")
    before = await everything(pool)
    assert await mutate(pool, space, Caller(cids=("one", "two", "three"))) == REVOKED
    assert await everything(pool) == before


@each_mutation
async def test_a_revocation_in_another_space_does_not_refuse(pool: PostgresPool, mutate: Mutation) -> None:
    space = await shared_space(pool)
    await PostgresRevocationStore(pool).revoke(await shared_space(pool), "one")
    assert await mutate(pool, space, Caller(cids=("one",))) == 0


@each_mutation
async def test_a_personal_claim_opens_no_shared_space(pool: PostgresPool, mutate: Mutation) -> None:
    space = await shared_space(pool)
    before = await everything(pool)
    assert await mutate(pool, space, Caller(client="owner")) == NOT_PERSONAL
    assert await everything(pool) == before


@each_mutation
async def test_a_space_at_home_elsewhere_is_left_alone_when_asked(
    pool: PostgresPool, mutate: Mutation
) -> None:
    space = await shared_space(pool)
    await rows(pool).set_space(space, home_server="peer.example")
    before = await everything(pool)
    assert await mutate(pool, space, Caller(cids=("one",), local_only=True)) == REMOTE_HOME
    assert await everything(pool) == before
    assert await mutate(pool, space, Caller(cids=("one",))) == 0


@each_mutation
async def test_a_missing_shared_space_is_told_and_not_made(pool: PostgresPool, mutate: Mutation) -> None:
    assert await mutate(pool, uuid4(), Caller(cids=("one",))) == NO_SPACE
    assert await everything(pool) == []


@pytest.mark.parametrize("mutate", [m for m in MUTATIONS if m is not complete])
async def test_a_missing_personal_space_is_made_for_its_owner(
    pool: PostgresPool, spaces: PostgresSpaceStore, mutate: Mutation
) -> None:
    space = uuid4()
    assert await mutate(pool, space, Caller(client="owner")) == 0
    made = (await spaces.get_spaces([space]))[space]
    assert (made.client_id, made.root_public_key) == ("owner", None)
