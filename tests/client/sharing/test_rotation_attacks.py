"""Rotations in spite of members who are out, of poisoned keys, and of a server that changes the log."""

import hashlib
from pathlib import Path

import asyncpg
import msgspec
import pytest

from less_sync.auth import Permission, ucan_cid
from less_sync.client.folder.errors import FolderError, KeyMismatch
from less_sync.client.folder.shared import SharedSpace
from less_sync.client.sharing.entries import EPOCH, REMOVED, Entry, next_digest, seal_entry
from less_sync.client.sharing.log import MemberLog
from less_sync.client.sharing.log_access import append_entry, note_removal, read_log
from less_sync.sync.client import SyncClient
from tests.client.sharing.members import Member, founder, joined, ucan
from tests.client.sharing.test_rotation import Fuse, Killed, begin, epoch_of, keys_of, letting_in, rotate
from tests.live import Live, live_server

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


async def add_row(client: SyncClient, carrier: Member, author: Member, entry: Entry) -> None:
    """Append an entry to the log whoever wrote it: with a token that may write, or as the server could."""
    shared = carrier.shared
    listed = await client.membership_list(str(shared.space), ucan=shared.ucan)
    digest = last = b""
    for row in listed.entries:
        digest, last = next_digest(digest, row.entry_hash), row.entry_hash
    keys = {1: author.shared.keys[1]}
    payload = seal_entry(msgspec.structs.replace(entry, after=digest.hex()), author.person, keys)
    await client.membership_append(
        str(shared.space),
        expected_version=listed.metadata_version,
        prev_hash=last,
        entry_hash=hashlib.sha256(payload).digest(),
        payload=payload,
        ucan=shared.ucan,
    )


async def log_of(live: Live, member: Member) -> MemberLog:
    async with member.client(live) as client:
        return (await read_log(client, member.file, member.person, epoch=1))[0]


async def assert_rotated(live: Live, epoch: int, *members: Member) -> None:
    """All of them have the same key of this epoch, and open every record with it."""
    for member in members:
        async with member.client(live) as client:
            assert await epoch_of(client, member) == (epoch, None)
            assert await keys_of(client, member) == [epoch]
    assert len({member.shared.keys[epoch] for member in members}) == 1
    assert members[0].shared.keys[epoch] != KEY


async def remove(live: Live, alice: Member, whom: Member) -> None:
    """As `space revoke` does."""
    cid = ucan_cid(whom.shared.ucan)
    async with alice.client(live) as client:
        await client.membership_revoke(str(alice.shared.space), cid, ucan=alice.shared.ucan)
        await note_removal(client, alice.file, alice.person, [cid])


@pytest.mark.parametrize("by_server", [False, True])
@pytest.mark.parametrize("version", [1, 2])
async def test_an_administrator_who_is_one_no_more_removes_nobody_and_chooses_no_key(
    database_url: str, tmp_path: Path, by_server: bool, version: int
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        mallory = joined(tmp_path, "mallory", alice, Permission.ADMIN)
        bob = joined(tmp_path, "bob", alice, Permission.WRITE)
        await begin(live, alice, mallory, bob)
        spent = (
            mallory.entry(REMOVED, cids=(ucan_cid(bob.shared.ucan),), epoch=1),
            mallory.key_entry(2, KEY, alice, bob),
        )
        await remove(live, alice, mallory)
        writes = ucan(alice.shared.space, alice.person, mallory.person, Permission.WRITE, alice.shared.ucan)
        mallory.file.update(lambda now: msgspec.structs.replace(now or mallory.shared, ucan=writes))
        carrier = alice if by_server else mallory
        async with carrier.client(live) as client:
            for entry in spent:
                past = msgspec.structs.replace(entry, v=version, at=entry.at - 5000)
                await add_row(client, carrier, mallory, past)
        log = await log_of(live, bob)
        assert (log.passed_over, log.epochs) == (2, {})
        assert bob.person.did in log.members
        await rotate(live, alice)
        await assert_rotated(live, 2, alice, bob)


async def test_a_poisoned_epoch_does_not_hold_up_the_removal_of_its_author(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        for name in ("garbage", "for nobody", "for some", "kept", "many"):
            parent = tmp_path / name
            alice = founder(parent)
            mallory = joined(parent, "mallory", alice, Permission.ADMIN)
            bob = joined(parent, "bob", alice, Permission.WRITE)
            await begin(live, alice, mallory, bob)
            poisons = {
                "garbage": [mallory.entry(EPOCH, epoch=2, keys={alice.person.did: "e30"}, check="00")],
                "for nobody": [mallory.entry(EPOCH, epoch=2)],
                "for some": [mallory.key_entry(2, KEY, alice)],
                "kept": [mallory.key_entry(2, KEY, alice)],
                "many": [mallory.key_entry(epoch, KEY, alice, bob) for epoch in range(2, 16)],
            }
            async with mallory.client(live) as client:
                for poison in poisons[name]:
                    await add_row(client, mallory, mallory, poison)
            await log_of(live, bob)
            if name == "kept":  # as earlier releases do before an epoch begins
                early = alice.shared.with_keys({2: KEY})
                alice.file.update(lambda _, early=early: early)  # type: ignore[misc]
            await rotate(live, alice, mallory)
            await assert_rotated(live, 2, alice, bob)


async def test_an_epoch_begun_with_a_key_that_nobody_has_is_passed_through(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        for name in ("garbage", "unsaid"):
            parent = tmp_path / name
            alice = founder(parent)
            mallory = joined(parent, "mallory", alice, Permission.ADMIN)
            bob = joined(parent, "bob", alice, Permission.WRITE)
            await begin(live, alice, mallory, bob)
            async with mallory.client(live) as client:
                if name == "garbage":
                    await add_row(client, mallory, mallory, mallory.entry(EPOCH, epoch=2))
                space, token = str(mallory.shared.space), mallory.shared.ucan
                await client.epoch_begin(space, 2, set_min_key_generation=True, ucan=token)
            with pytest.raises(KeyMismatch, match="was not given to you"):
                await rotate(live, alice)
            await rotate(live, alice, mallory)
            await assert_rotated(live, 3, alice, bob)


async def test_a_key_by_an_administrator_whose_token_has_ended_since_is_replaced(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        mallory = joined(tmp_path, "mallory", alice, Permission.ADMIN)
        await begin(live, alice)
        ended = ucan(
            alice.shared.space,
            alice.person,
            mallory.person,
            Permission.ADMIN,
            alice.shared.ucan,
            life_s=-100,
        )
        # Nobody has written anything since: by the log alone, its time could be true.
        past = mallory.key_entry(2, KEY, alice)
        past = msgspec.structs.replace(past, proof=ended, at=past.at - 200)
        async with mallory.client(live) as client:
            await add_row(client, mallory, mallory, past)
        assert (await log_of(live, alice)).keys == {2: KEY}
        await rotate(live, alice)
        await assert_rotated(live, 2, alice)


async def test_who_was_let_in_while_a_rotation_lay_half_done_is_given_its_key(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        for steps, epoch in ((1, 2), (2, 3)):  # before it began, and after
            parent = tmp_path / str(steps)
            alice = founder(parent)
            carol = joined(parent, "carol", alice, Permission.ADMIN)
            await begin(live, alice, carol)
            early = joined(parent, "early", alice, Permission.READ)
            with pytest.raises(Killed):
                await rotate(live, carol, step=Fuse(steps))
            async with alice.client(live) as client:
                await append_entry(client, alice.file, alice.person, letting_in(alice, early))
            assert early.shared.keys.keys() == {1}
            await rotate(live, alice)
            await assert_rotated(live, epoch, alice, carol, early)
            assert early.shared.keys.keys() == set(range(1, epoch + 1))


async def test_a_log_that_an_earlier_release_wrote_is_read_and_gone_on_with(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        for begun in (True, False):  # the earlier release completed its rotation, or broke off
            parent = tmp_path / str(begun)
            alice = founder(parent)
            bob = joined(parent, "bob", alice, Permission.WRITE)
            await begin(live, alice)
            async with alice.client(live) as client:
                for entry in (alice.letting_in(bob), alice.key_entry(2, OTHER, bob)):
                    await add_row(client, alice, alice, msgspec.structs.replace(entry, v=1, check=""))
                if begun:
                    space, token = str(alice.shared.space), alice.shared.ucan
                    await client.epoch_begin(space, 2, set_min_key_generation=True, ucan=token)
                    await client.epoch_complete(space, 2, ucan=token)
            await rotate(live, alice)
            await assert_rotated(live, 3 if begun else 2, alice, bob)
            assert bob.shared.keys[2] == OTHER


async def test_a_server_that_holds_back_the_end_of_the_log_is_found_out(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        mallory = joined(tmp_path, "mallory", alice, Permission.ADMIN)
        bob = joined(tmp_path, "bob", alice, Permission.WRITE)
        await begin(live, alice, mallory, bob)
        await remove(live, alice, mallory)
        assert (await log_of(live, bob)).place == bob.shared.log == alice.shared.log
        connection = await asyncpg.connect(database_url)
        await connection.execute(
            "DELETE FROM members WHERE space_id = $1 AND chain_seq = 3", bob.shared.space
        )
        await connection.close()
        for member in (bob, alice):
            with pytest.raises(FolderError, match="a membership log of 2 entries that does not continue"):
                await log_of(live, member)
        # Nor can it begin anew what nobody has read: a device that comes by bundle knows how far it goes.
        fresh = joined(tmp_path, "fresh", alice, Permission.READ)
        fresh.file.update(
            lambda now: SharedSpace(
                space=bob.shared.space, ucan=fresh.shared.ucan, keys=bob.shared.keys, log=alice.shared.log
            )
        )
        with pytest.raises(FolderError, match="does not continue"):
            await log_of(live, fresh)
