"""People with this client and with the one in JavaScript in one space, against a real server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from less_sync.auth import Permission
from less_sync.client.sharing.log_access import read_log
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.client import RequestFailed
from tests.client.sharing.members import Member, founder, joined
from tests.client.sharing.test_rotation import (
    Fuse,
    Killed,
    begin,
    epoch_of,
    handed_out_to_many,
    keys_of,
    rotate,
    rotating,
)
from tests.client.sharing.test_rotation_files import Files, with_files
from tests.js.persons import KilledAtStep, NodePerson, Refusal, node_person
from tests.live import Live, live_server

STEPS = 7
"""Of a rotation that removes one member with one token."""


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, identity_hash_key=None, blobs=MemoryBlobs()) as running:
        yield running


@asynccontextmanager
async def by_node(live: Live, member: Member, *, scope: str = "sync files") -> AsyncIterator[NodePerson]:
    """The same person with the JavaScript client, on the same folder."""
    token = live.token(member.name, did=member.person.did, scope=scope)
    async with node_person(live.port, token, member.person, member.file.path.parent.parent) as person:
        yield person


async def assert_rotated(live: Live, epoch: int, *members: Member) -> None:
    """Check with both clients that the space is in an epoch whose key all records have, and that all read."""
    for member in members:
        async with member.client(live) as client:
            assert await epoch_of(client, member) == (epoch, None)
            assert await keys_of(client, member) == [epoch]
        async with by_node(live, member) as person:
            assert await person.ask("learn") == [epoch, None]
            assert await person.ask("epochs") == [epoch]


async def assert_out(live: Live, member: Member, *, knows: set[int]) -> None:
    async with member.client(live) as client:
        with pytest.raises(RequestFailed, match="forbidden"):
            await read_log(client, member.file, member.person, epoch=2)
    async with by_node(live, member) as person:
        with pytest.raises(Refusal, match="forbidden"):
            await person.ask("members")
    assert member.shared.keys.keys() == knows


@pytest.mark.parametrize("first", ["node", "python"])
async def test_a_rotation_killed_before_any_step_is_completed_by_the_other_client(
    live: Live, tmp_path: Path, first: str
) -> None:
    for killed_at in range(STEPS):
        parent = tmp_path / str(killed_at)
        alice = founder(parent)
        bob, carol = (
            joined(parent, name, alice, permission)
            for name, permission in (("bob", Permission.WRITE), ("carol", Permission.READ))
        )
        await begin(live, alice, bob, carol)
        async with by_node(live, alice) as person:
            if first == "node":
                with pytest.raises(KilledAtStep):
                    await person.ask("rotate", remove=[bob.person.did], left=killed_at)
                assert rotating(alice)
                await rotate(live, alice)
            else:
                with pytest.raises(Killed):
                    await rotate(live, alice, bob, step=Fuse(killed_at))
                assert rotating(alice)
                assert (await person.ask("rotate"))["epoch"] == 2
        assert not rotating(alice)
        await assert_rotated(live, 2, alice, carol)
        await assert_out(live, bob, knows={1})


async def test_both_clients_take_the_same_steps(live: Live, tmp_path: Path) -> None:
    alice = founder(tmp_path)
    bob, carol = (joined(tmp_path, name, alice, Permission.WRITE) for name in ("bob", "carol"))
    await begin(live, alice, bob, carol)
    fuse = Fuse(1000)
    await rotate(live, alice, bob, step=fuse)
    async with by_node(live, alice) as person:
        done = await person.ask("rotate", remove=[carol.person.did])
    assert (done["steps"], fuse.steps) == (STEPS, STEPS)
    await assert_rotated(live, 3, alice)


@pytest.mark.parametrize("first", ["node", "python"])
async def test_a_rotation_killed_before_every_step_in_turn_gets_to_its_end_by_turns(
    live: Live, tmp_path: Path, first: str
) -> None:
    alice = founder(tmp_path)
    bob = joined(tmp_path, "bob", alice, Permission.WRITE)
    await begin(live, alice, bob)
    for kills in range(40):
        remove = [] if kills else [bob]
        try:
            if (kills % 2 == 0) == (first == "node"):
                async with by_node(live, alice) as person:
                    await person.ask("rotate", remove=[one.person.did for one in remove], left=kills)
            else:
                await rotate(live, alice, *remove, step=Fuse(kills))
            break
        except (Killed, KilledAtStep):
            assert rotating(alice)
    assert 3 < kills < 39
    assert not rotating(alice)
    async with alice.client(live) as client:
        epoch, pending = await epoch_of(client, alice)
    assert pending is None
    await assert_rotated(live, epoch, alice)
    await assert_out(live, bob, knows={1})


@pytest.mark.parametrize("first", ["node", "python"])
async def test_what_an_administrator_left_half_done_is_done_again_without_them_by_the_other_client(
    live: Live, tmp_path: Path, first: str
) -> None:
    alice = founder(tmp_path)
    mallory = joined(tmp_path, "mallory", alice, Permission.ADMIN)
    await begin(live, alice, mallory)
    if first == "node":
        async with by_node(live, mallory) as person:
            with pytest.raises(KilledAtStep):  # after beginning an epoch whose key mallory has
                await person.ask("rotate", left=3)
        await rotate(live, alice, mallory)
    else:
        with pytest.raises(Killed):
            await rotate(live, mallory, step=Fuse(3))
        async with by_node(live, alice) as person:
            assert (await person.ask("rotate", remove=[mallory.person.did]))["epoch"] == 3
    await assert_rotated(live, 3, alice)
    assert alice.shared.keys[3] not in mallory.shared.keys.values()


async def test_two_administrators_who_rotate_at_once_with_both_clients_come_to_an_end(
    live: Live, tmp_path: Path
) -> None:
    for number in range(5):
        alice = founder(tmp_path / str(number))
        carol = joined(tmp_path / str(number), "carol", alice, Permission.ADMIN)
        await begin(live, alice, carol)
        async with by_node(live, carol) as person:
            await asyncio.gather(rotate(live, alice), person.ask("rotate"))
        async with alice.client(live) as client:
            epoch, pending = await epoch_of(client, alice)
        assert (epoch in (2, 3), pending) == (True, None)
        await assert_rotated(live, epoch, alice, carol)
        assert alice.shared.keys == carol.shared.keys


async def test_two_administrators_with_one_client_each_in_javascript_rotate_at_once(
    live: Live, tmp_path: Path
) -> None:
    alice = founder(tmp_path)
    carol = joined(tmp_path, "carol", alice, Permission.ADMIN)
    await begin(live, alice, carol)
    async with AsyncExitStack() as stack:
        people = [await stack.enter_async_context(by_node(live, one)) for one in (alice, carol)]
        await asyncio.gather(*(one.ask("rotate") for one in people))
    async with alice.client(live) as client:
        epoch, _ = await epoch_of(client, alice)
    await assert_rotated(live, epoch, alice, carol)


async def test_the_keys_of_files_are_wrapped_anew_and_files_left_by_a_token_without_the_scope(
    live: Live, tmp_path: Path
) -> None:
    alice, bob, carol, files = await with_files(live, tmp_path)
    async with by_node(live, alice, scope="sync") as person:
        with pytest.raises(Refusal, match="files_left"):
            await person.ask("rotate", remove=[bob.person.did])
    assert rotating(alice)
    assert await files.epochs_read_by(alice, epoch=2) == [1]
    async with by_node(live, alice) as person:
        assert (await person.ask("rotate"))["epoch"] == 2
    await assert_rotated(live, 2, alice, carol)
    assert await files.epochs_read_by(carol, epoch=2) == [2]
    await files_by_both(live, files, alice, carol)


async def files_by_both(live: Live, files: Files, alice: Member, carol: Member) -> None:
    """Rotate again with the other client, with files under two keys."""
    await files.upload(epoch=2, path="1.txt")
    await rotate(live, carol)
    assert await files.epochs_read_by(alice, epoch=3) == [3]


async def test_a_key_for_more_people_than_one_entry_can_name_reaches_them_by_several(
    live: Live, tmp_path: Path
) -> None:
    alice = founder(tmp_path)
    await begin(live, alice)
    dids = handed_out_to_many(alice, 250)
    async with by_node(live, alice) as person:
        assert (await person.ask("rotate"))["epoch"] == 2
    async with alice.client(live) as client:
        log, _ = await read_log(client, alice.file, alice.person, epoch=2)
        assert (set(log.epochs[2].keys), log.version, log.passed_over) == (dids, 2, 0)
    await assert_rotated(live, 2, alice)


async def test_who_is_revoked_while_they_write_is_cut_off_and_loses_nothing(
    live: Live, tmp_path: Path
) -> None:
    alice = founder(tmp_path)
    bob = joined(tmp_path, "bob", alice, Permission.WRITE)
    await begin(live, alice, bob)
    async with by_node(live, bob) as person:
        written = 0

        async def write() -> str:
            nonlocal written
            while "error" not in (told := await person.ask("write", path=f"bob/{written}")):
                written += 1
            return str(told["error"])

        writing = asyncio.create_task(write())
        while written < 3:  # noqa: ASYNC110  # what another task counts
            await asyncio.sleep(0.01)
        await rotate(live, alice, bob)
        assert await writing == "forbidden"
    async with by_node(live, alice) as reader:
        assert await reader.ask("learn") == [2, None]
        paths = [path for path, _ in await reader.ask("read")]
        assert {f"bob/{number}" for number in range(written)} <= set(paths)
        assert await reader.ask("epochs") == [2]
