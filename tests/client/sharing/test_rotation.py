"""Rotations against a real server: killed before any step and run again, and several at once."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from less_sync.auth import Permission
from less_sync.client.folder.crypto import SealedFile, SharedCipher, Undecryptable
from less_sync.client.folder.plaintext import PlainFile
from less_sync.client.folder.shared import Delegation, SharedSpace
from less_sync.client.sharing.entries import Entry
from less_sync.client.sharing.log import MemberLog
from less_sync.client.sharing.log_access import append_entry, note_removal, read_log, standing
from less_sync.sync.client import PushChange, RequestFailed, SubscribeSpace, SyncClient
from tests.client.sharing.members import ROOT_KEY, Member, founder, joined, new_person
from tests.live import Live, live_server

RECORDS = 5


class Killed(BaseException):
    """The command was killed here."""


@dataclass
class Fuse:
    """Kills before step number `left`."""

    left: int
    steps: int = 0

    def __call__(self, name: str) -> None:
        self.steps += 1
        if self.left == 0:
            raise Killed(name)
        self.left -= 1


def letting_in(alice: Member, other: Member) -> Callable[[MemberLog, SharedSpace], Entry | None]:
    def make(log: MemberLog, shared: SharedSpace) -> Entry | None:
        return None if other.person.did in log.members else alice.letting_in(other)

    return make


def rotating(member: Member) -> bool:
    return member.shared.rotation is not None


async def begin(live: Live, alice: Member, *others: Member) -> None:
    """Make alice's space with some records, and note the others in the log."""
    space = str(alice.shared.space)
    async with alice.client(live) as client:
        await client.space_create(space, ROOT_KEY)
        for other in others:
            await append_entry(client, alice.file, alice.person, letting_in(alice, other))
        cipher = SharedCipher(alice.shared.epoch_keys, alice.shared.space)
        changes = []
        for number in range(RECORDS):
            path = f"{number}.txt"
            sealed = cipher.seal(cipher.record_id(path), PlainFile(path, 0, path.encode()), epoch=1)
            id = str(cipher.record_id(path))
            changes.append(PushChange(id=id, blob=sealed.blob, expected_cursor=0, dek=sealed.dek))
        assert (await client.push(space, changes, ucan=alice.shared.ucan)).ok


async def keys_of(client: SyncClient, member: Member) -> list[int]:
    """Check that the member opens every record, and return the epochs their keys are wrapped for."""
    epoch = (await standing(client, member.shared.ucan)).epoch
    _, shared = await read_log(client, member.file, member.person, epoch=epoch)
    cipher = SharedCipher(shared.epoch_keys, shared.space)
    deks = [one async for one in client.deks(str(shared.space), ucan=shared.ucan)]
    assert len({bytes(cipher.unwrap(one.dek)) for one in deks}) == RECORDS
    return sorted({int.from_bytes(one.dek[:4], "big") for one in deks})


async def epoch_of(client: SyncClient, member: Member) -> tuple[int, int | None]:
    space = SubscribeSpace(id=str(member.shared.space), since=0, ucan=member.shared.ucan)
    (found,) = (await client.subscribe([space])).spaces
    return found.key_generation, found.rewrap_epoch


async def rotate(
    live: Live, member: Member, *remove: Member, step: Callable[[str], None] = lambda name: None
) -> None:
    async with member.client(live) as client:
        rotator = member.rotator(client)
        rotator.step = step
        await rotator.run([one.person.did for one in remove])


async def steps_of_a_rotation(live: Live, parent: Path) -> int:
    alice = founder(parent, "first")
    bob = joined(parent, "first bob", alice, Permission.WRITE)
    await begin(live, alice, bob)
    fuse = Fuse(1000)
    await rotate(live, alice, bob, step=fuse)
    return fuse.steps


async def test_a_rotation_killed_before_any_step_is_completed_by_the_next(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        steps = await steps_of_a_rotation(live, tmp_path)
        assert steps == 7
        for killed_at in range(steps):
            parent = tmp_path / str(killed_at)
            alice = founder(parent)
            bob = joined(parent, "bob", alice, Permission.WRITE)
            carol = joined(parent, "carol", alice, Permission.READ)
            await begin(live, alice, bob, carol)
            with pytest.raises(Killed):
                await rotate(live, alice, bob, step=Fuse(killed_at))
            assert rotating(alice)
            await rotate(live, alice)
            assert not rotating(alice)
            for member in (alice, carol):
                async with member.client(live) as client:
                    assert await keys_of(client, member) == [2]
                    assert await epoch_of(client, member) == (2, None)
            async with bob.client(live) as client:
                with pytest.raises(RequestFailed, match="forbidden"):
                    await read_log(client, bob.file, bob.person, epoch=2)
            assert bob.shared.keys.keys() == {1}


async def test_a_rotation_killed_before_every_step_in_turn_gets_to_its_end(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        bob = joined(tmp_path, "bob", alice, Permission.WRITE)
        await begin(live, alice, bob)
        kills = 0
        while True:
            try:
                # Steps already done are passed quickly: the fuse is a little longer each time.
                await rotate(live, alice, *([bob] if not kills else []), step=Fuse(kills))
                break
            except Killed:
                kills += 1
        assert kills > 3
        async with alice.client(live) as client:
            epochs = await keys_of(client, alice)
            assert await epoch_of(client, alice) == (epochs[0], None)
        assert not rotating(alice)


async def test_what_another_administrator_left_half_done_is_completed_and_done_again_without_them(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        mallory = joined(tmp_path, "mallory", alice, Permission.ADMIN)
        await begin(live, alice, mallory)
        with pytest.raises(Killed):  # after beginning an epoch whose key mallory has
            await rotate(live, mallory, step=Fuse(4))
        await rotate(live, alice, mallory)
        async with alice.client(live) as client:
            assert await epoch_of(client, alice) == (3, None)
            assert await keys_of(client, alice) == [3]
        assert alice.shared.keys[3] not in mallory.shared.keys.values()


async def test_two_administrators_who_rotate_at_once_both_come_to_an_end(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        carol = joined(tmp_path, "carol", alice, Permission.ADMIN)
        await begin(live, alice, carol)
        await asyncio.gather(rotate(live, alice), rotate(live, carol))
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(one.client(live)) for one in (alice, carol)]
            epoch, pending = await epoch_of(clients[0], alice)
            assert pending is None
            assert epoch in (2, 3)
            for client, member in zip(clients, (alice, carol), strict=True):
                assert await keys_of(client, member) == [epoch]
        assert alice.shared.keys == carol.shared.keys


async def test_a_record_written_under_an_old_key_is_refused_after_a_rotation_and_unreadable_with_it(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        await begin(live, alice)
        before = SharedCipher(alice.shared.epoch_keys, alice.shared.space)
        await rotate(live, alice)
        after = SharedCipher(alice.shared.epoch_keys, alice.shared.space)
        record = before.record_id("new")
        old, new = (
            one.seal(record, PlainFile("new", 0, b""), epoch=epoch)
            for one, epoch in ((before, 1), (after, 2))
        )
        async with alice.client(live) as client:
            results = [await push(client, alice, str(record), sealed) for sealed in (old, new)]
        assert results == [(False, "key_generation_stale"), (True, "")]
        with pytest.raises(Undecryptable):
            before.open(record, new)


async def test_a_token_that_is_not_for_files_rotates_all_the_same(database_url: str, tmp_path: Path) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        await begin(live, alice)
        async with alice.client(live, scope="sync") as client:
            await alice.rotator(client).run([])
            assert await epoch_of(client, alice) == (2, None)
            assert await keys_of(client, alice) == [2]


def handed_out_to_many(alice: Member, number: int) -> set[str]:
    """Note tokens for this many people, and some for texts that are no DIDs; return whom a key is for."""
    dids = [new_person().did for _ in range(number)]
    tokens = [
        Delegation(did=did, cid="0" * 64, permission="read", expires_at=2**40)
        for did in (*dids, *(f"did:key:a{one}" for one in range(number)))
    ]
    alice.file.update(lambda _: msgspec.structs.replace(alice.shared, delegated=tuple(tokens)))
    return {alice.person.did, *dids}


async def test_a_key_for_more_people_than_one_entry_can_name_reaches_them_by_several(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        await begin(live, alice)
        dids = handed_out_to_many(alice, 250)
        await rotate(live, alice)
        async with alice.client(live) as client:
            log, _ = await read_log(client, alice.file, alice.person, epoch=2)
            assert (set(log.epochs[2].keys), log.version, log.passed_over) == (dids, 2, 0)
            assert await keys_of(client, alice) == [2]


async def test_more_tokens_than_one_entry_can_name_are_removed_by_several(
    database_url: str, tmp_path: Path
) -> None:
    async with live_server(database_url, identity_hash_key=None) as live:
        alice = founder(tmp_path)
        await begin(live, alice)
        cids = [f"{number:064x}" for number in range(900)]
        async with alice.client(live) as client:
            for _ in range(2):
                await note_removal(client, alice.file, alice.person, cids)
            log, _ = await read_log(client, alice.file, alice.person, epoch=1)
        assert (log.revoked, log.version, log.passed_over) == (set(cids), 3, 0)


async def push(client: SyncClient, member: Member, id: str, sealed: SealedFile) -> tuple[bool, str]:
    change = PushChange(id=id, blob=sealed.blob, expected_cursor=0, dek=sealed.dek)
    result = await client.push(str(member.shared.space), [change], ucan=member.shared.ucan)
    return result.ok, result.error
