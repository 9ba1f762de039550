"""Signing keys, docs/storage.md 5.9."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from less_sync.storage import (
    ActiveKey,
    DeactivateStatus,
    FederationKeyNotFound,
    PostgresFederationKeyStore,
    PostgresPool,
    StoredKey,
    StoreKeyStatus,
)
from tests.storage.support import execute, select

ONE, TWO = (f"https://sync.example/.well-known/jwks.json#{name}" for name in ("one", "two"))
SEED, PUBLIC = b"s" * 32, b"p" * 32


@pytest.fixture
async def real(database_url: str) -> AsyncIterator[PostgresPool]:
    opened = await PostgresPool.open(database_url)
    yield opened
    await opened.aclose(5)


@pytest.fixture
def keys(real: PostgresPool) -> PostgresFederationKeyStore:
    return PostgresFederationKeyStore(real)


async def store(
    keys: PostgresFederationKeyStore, kid: str, *, promote: bool = False, unless_host: str | None = None
) -> StoredKey:
    return await keys.store(kid, seed=SEED, public_key=PUBLIC, promote=promote, unless_host=unless_host)


async def flags(keys: PostgresFederationKeyStore) -> dict[str, tuple[bool, bool, bool]]:
    """Of each key, oldest first: active, primary, deactivated at some time."""
    return {
        key.kid: (key.is_active, key.is_primary, key.deactivated_at is not None) for key in await keys.all()
    }


async def test_the_first_key_is_the_primary_whether_or_not_it_is_promoted(
    keys: PostgresFederationKeyStore,
) -> None:
    assert await store(keys, ONE) == StoredKey(StoreKeyStatus.STORED, ONE, PUBLIC, signs=True)
    assert await store(keys, TWO) == StoredKey(StoreKeyStatus.STORED, TWO, PUBLIC, signs=False)
    assert await flags(keys) == {ONE: (True, True, False), TWO: (True, False, False)}


async def test_a_key_that_is_there_keeps_its_material_and_its_place(
    real: PostgresPool, keys: PostgresFederationKeyStore
) -> None:
    await store(keys, ONE)
    await store(keys, TWO)
    again = await keys.store(TWO, seed=b"x" * 32, public_key=b"y" * 32, promote=True)
    assert again == StoredKey(StoreKeyStatus.EXISTS, TWO, PUBLIC, signs=False)
    rows = await select(real, "SELECT private_key, public_key FROM federation_signing_keys")
    assert [tuple(row) for row in rows] == [(SEED, PUBLIC)] * 2
    assert await flags(keys) == {ONE: (True, True, False), TWO: (True, False, False)}


async def test_promoting_moves_the_signature_and_both_keys_stay_in_use(
    keys: PostgresFederationKeyStore,
) -> None:
    await store(keys, ONE)
    assert (await store(keys, TWO, promote=True)).signs
    assert await flags(keys) == {ONE: (True, False, False), TWO: (True, True, False)}
    await keys.promote(ONE)
    await keys.promote(ONE)
    assert await flags(keys) == {ONE: (True, True, False), TWO: (True, False, False)}
    assert await keys.active() == [ActiveKey(ONE, PUBLIC, SEED), ActiveKey(TWO, PUBLIC, None)]


async def test_a_deactivated_key_disappears_and_comes_back_when_it_is_promoted(
    keys: PostgresFederationKeyStore,
) -> None:
    await store(keys, ONE)
    await store(keys, TWO)
    assert await keys.deactivate(TWO) is DeactivateStatus.DONE
    assert await flags(keys) == {ONE: (True, True, False), TWO: (False, False, True)}
    assert [key.kid for key in await keys.active()] == [ONE]
    await keys.promote(TWO)
    assert await flags(keys) == {ONE: (True, False, False), TWO: (True, True, False)}


async def test_the_primary_goes_by_force_alone_and_the_next_new_key_takes_its_place(
    keys: PostgresFederationKeyStore,
) -> None:
    await store(keys, ONE)
    assert await keys.deactivate(ONE) is DeactivateStatus.PRIMARY
    assert await flags(keys) == {ONE: (True, True, False)}
    assert await keys.deactivate(ONE, even_primary=True) is DeactivateStatus.DONE
    assert await keys.active() == []
    assert not (await store(keys, ONE)).signs
    assert (await store(keys, TWO)).signs


async def test_an_unknown_key_is_told_and_nothing_changes(keys: PostgresFederationKeyStore) -> None:
    await store(keys, ONE)
    with pytest.raises(FederationKeyNotFound, match=r"^federation key not found$"):
        await keys.promote(TWO)
    with pytest.raises(FederationKeyNotFound):
        await keys.deactivate(TWO, even_primary=True)
    assert await flags(keys) == {ONE: (True, True, False)}


async def test_a_row_that_is_primary_and_inactive_does_not_stand_in_the_way(
    real: PostgresPool, keys: PostgresFederationKeyStore
) -> None:
    await store(keys, ONE)
    await execute(real, "UPDATE federation_signing_keys SET is_active = false")
    assert await keys.active() == []
    assert (await store(keys, TWO)).signs
    assert await flags(keys) == {ONE: (False, False, False), TWO: (True, True, False)}


async def test_keys_of_one_moment_are_listed_by_kid(
    real: PostgresPool, keys: PostgresFederationKeyStore
) -> None:
    for kid in (TWO, ONE):
        await store(keys, kid)
    await execute(real, "UPDATE federation_signing_keys SET created_at = now()")
    assert [key.kid for key in await keys.active()] == [ONE, TWO]
    assert [key.kid for key in await keys.all()] == [ONE, TWO]


async def test_twelve_first_keys_at_once_are_all_stored_and_one_signs(
    keys: PostgresFederationKeyStore,
) -> None:
    stored = await asyncio.gather(*(store(keys, f"{ONE}-{n}") for n in range(12)))
    assert [one.status for one in stored] == [StoreKeyStatus.STORED] * 12
    assert sum(one.signs for one in stored) == 1
    assert sum(key.is_primary for key in await keys.all()) == 1


async def test_twelve_that_ask_for_a_missing_key_at_once_make_one(keys: PostgresFederationKeyStore) -> None:
    asked = (store(keys, f"{ONE}-{n}", promote=True, unless_host="sync.example") for n in range(12))
    stored = await asyncio.gather(*asked)
    assert sum(one.status is StoreKeyStatus.STORED for one in stored) == 1
    [key] = await keys.all()
    assert {one.kid for one in stored} == {key.kid}
    assert all(one.signs for one in stored)


@pytest.mark.parametrize(
    ("kid", "host", "found"),
    [
        (ONE, "sync.example", True),
        (ONE, "other.example", False),
        (ONE, "sync.example:8443", False),
        ("https://sync.example:8443/.well-known/jwks.json#a", "sync.example:8443", True),
        ("https://sync.example:8443/.well-known/jwks.json#a", "sync.example", False),
        ("https://Sync.Example.:443/.well-known/jwks.json#a", "sync.example", True),
        ("http://[::1]:5379/.well-known/jwks.json#a", "[::1]:5379", True),
        ("fed-1", "sync.example", True),
    ],
)
async def test_a_missing_key_is_one_of_this_host(
    keys: PostgresFederationKeyStore, kid: str, host: str, found: bool
) -> None:
    await store(keys, kid)
    stored = await store(keys, TWO, promote=True, unless_host=host)
    expected = (
        StoredKey(StoreKeyStatus.HAS_PRIMARY, kid, PUBLIC, signs=True)
        if found
        else StoredKey(StoreKeyStatus.STORED, TWO, PUBLIC, signs=True)
    )
    assert stored == expected


async def test_private_halves_are_in_no_text(keys: PostgresFederationKeyStore) -> None:
    await store(keys, ONE)
    assert "ssss" not in f"{await keys.active()} {await keys.all()}"
