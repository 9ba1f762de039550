"""Revocations, docs/storage.md 5.5, and mutations that race with one."""

import asyncio
from uuid import UUID, uuid4

import pytest

from less_sync.auth import LEAF_TAG_PREFIX, FstClaims, fst_leaf_tag
from less_sync.storage import (
    PostgresPool,
    PostgresRevocationStore,
    PostgresSpaceStore,
    PushLanes,
    PushStatus,
    RevokeStatus,
)
from tests.storage.support import make_push, rows, shared_space, submit, write


@pytest.fixture
def revocations(pool: PostgresPool) -> PostgresRevocationStore:
    return PostgresRevocationStore(pool)


async def revoked(spaces: PostgresSpaceStore, space: UUID, *cids: str) -> set[str]:
    read = await spaces.read_spaces([space], [(space, cid) for cid in cids])
    return {cid for _, cid in read.revoked}


async def test_a_revoked_cid_is_revoked_in_its_space_alone(
    pool: PostgresPool, spaces: PostgresSpaceStore, revocations: PostgresRevocationStore
) -> None:
    here, there = await shared_space(pool), await shared_space(pool)
    assert await revocations.revoke(here, "cid") is RevokeStatus.DONE
    assert await revoked(spaces, here, "cid", "another") == {"cid"}
    assert await revoked(spaces, there, "cid") == set()


async def test_revoking_again_is_harmless(pool: PostgresPool, revocations: PostgresRevocationStore) -> None:
    space = await shared_space(pool)
    assert await revocations.revoke(space, "cid") is RevokeStatus.DONE
    assert await revocations.revoke(space, "cid") is RevokeStatus.DONE
    assert await rows(pool).revocations() == [(space, "cid")]


async def test_a_cid_is_any_text(
    pool: PostgresPool, spaces: PostgresSpaceStore, revocations: PostgresRevocationStore
) -> None:
    space = await shared_space(pool)
    for cid in ("x", "ü" * 600, "'; --"):
        assert await revocations.revoke(space, cid) is RevokeStatus.DONE
        assert await revoked(spaces, space, cid) == {cid}


async def test_nothing_is_revoked_in_a_missing_space(revocations: PostgresRevocationStore) -> None:
    assert await revocations.revoke(uuid4(), "cid") is RevokeStatus.NO_SPACE


async def test_many_cids_are_looked_up_at_once(
    pool: PostgresPool, spaces: PostgresSpaceStore, revocations: PostgresRevocationStore
) -> None:
    space = await shared_space(pool)
    cids = [f"cid {number}" for number in range(500)]
    for cid in cids[::100]:
        await revocations.revoke(space, cid)
    assert await revoked(spaces, space, *cids) == set(cids[::100])


async def test_eight_revokers_at_once_are_all_told_it_is_done(
    pool: PostgresPool, revocations: PostgresRevocationStore
) -> None:
    space = await shared_space(pool)
    statuses = await asyncio.gather(*(revocations.revoke(space, "cid") for _ in range(8)))
    assert set(statuses) == {RevokeStatus.DONE}


async def test_no_push_is_written_by_a_cid_after_its_revocation_returned(
    pool: PostgresPool, lanes: PushLanes, revocations: PostgresRevocationStore, spaces: PostgresSpaceStore
) -> None:
    space = await shared_space(pool)
    pushes = [submit(lanes, make_push(space, (uuid4(), 0, b"x"), cids=["cid"])) for _ in range(50)]
    await revocations.revoke(space, "cid")
    at_return = (await spaces.get_spaces([space]))[space].cursor
    outcomes = await asyncio.gather(*pushes)
    assert (await spaces.get_spaces([space]))[space].cursor == at_return
    statuses = [getattr(outcome, "status", None) for outcome in outcomes]
    assert statuses == [PushStatus.WRITTEN] * at_return + [PushStatus.REVOKED] * (50 - at_return)
    last = await write(lanes, make_push(space, (uuid4(), 0, b"x"), cids=["cid"]))
    assert last.status is PushStatus.REVOKED


async def test_a_revocation_is_found_by_the_tag_that_renewals_of_its_ucan_carry(
    pool: PostgresPool, revocations: PostgresRevocationStore
) -> None:
    here, there, empty = await shared_space(pool), await shared_space(pool), await shared_space(pool)
    cids = [f"{number:064x}" for number in range(50)]
    for cid in (*cids, "ü is no CID, but may be revoked"):
        await revocations.revoke(here, cid)
    await revocations.revoke(there, "f" * 64)
    tag, other = fst_leaf_tag(cids[17]), fst_leaf_tag("f" * 64)
    asked = [(here, tag), (there, tag), (empty, tag), (here, other), (there, other), (here, tag)]
    assert await revocations.tagged(asked, LEAF_TAG_PREFIX) == {(here, tag), (there, other)}
    assert await revocations.tagged([], LEAF_TAG_PREFIX) == set()
    # What the database finds is what a token says of itself.
    for claimed, revoked_here in ((tag, True), (other, False)):
        assert FstClaims(here, 0, claimed).is_revoked_by(cids) is revoked_here
