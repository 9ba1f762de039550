"""What a rotation does to the keys of files: against a real server, with files uploaded before it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from less_sync.auth import Permission
from less_sync.bins.dev import DevIssuer
from less_sync.client.folder.crypto import SharedCipher
from less_sync.client.sharing.log_access import read_log
from less_sync.client.sharing.rewrapping import FilesLeft
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.client import (
    FileClient,
    FileRefused,
    PushChange,
    RewrappedDek,
    SyncClient,
)
from tests.client.sharing.members import Member, founder, joined
from tests.client.sharing.people import Town
from tests.client.sharing.test_rotation import Fuse, Killed, begin, epoch_of, keys_of, rotate, rotating
from tests.live import Live, live_server

CONTENT = b"sealed by the application"


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, identity_hash_key=None, blobs=MemoryBlobs()) as running:
        yield running


@dataclass
class Files:
    """What somebody uploaded: the key of each file."""

    member: Member
    live: Live
    keys: dict[UUID, bytes]

    @asynccontextmanager
    async def client_of(self, member: Member) -> AsyncIterator[FileClient]:
        async def token() -> str:
            return self.live.token(member.name, did=member.person.did)

        async with FileClient(f"ws://127.0.0.1:{self.live.port}/api/v1/ws", token) as files:
            yield files

    async def upload(self, *, epoch: int = 1, path: str = "0.txt") -> None:
        """Upload one, with its key wrapped for an epoch, bound to the record of a path."""
        shared = self.member.shared
        cipher = SharedCipher(shared.epoch_keys, shared.space)
        file, key = uuid4(), os.urandom(32)

        async def content() -> AsyncIterator[bytes]:
            yield CONTENT

        async with self.client_of(self.member) as files:
            stored = await files.upload(
                str(shared.space),
                file,
                record=cipher.record_id(path),
                wrapped_dek=cipher.wrap(key, epoch=epoch),
                size_bytes=len(CONTENT),
                content=content,
                ucan=shared.ucan,
            )
        assert stored
        self.keys[file] = key

    async def epochs_read_by(self, member: Member, *, epoch: int) -> list[int]:
        """Have a member download and open every file; return the epochs their keys are wrapped for."""
        async with member.client(self.live) as client:
            _, shared = await read_log(client, member.file, member.person, epoch=epoch)
        cipher, found = SharedCipher(shared.epoch_keys, shared.space), set()
        async with self.client_of(member) as files:
            for file, key in self.keys.items():
                async with files.download(str(shared.space), file, ucan=shared.ucan) as download:
                    assert download is not None
                    assert b"".join([piece async for piece in download.chunks()]) == CONTENT
                assert cipher.unwrap(download.wrapped_dek) == key
                found.add(int.from_bytes(download.wrapped_dek[:4], "big"))
        return sorted(found)


async def with_files(live: Live, parent: Path, number: int = 2) -> tuple[Member, Member, Member, Files]:
    """Alice with a space, Bob who writes there, Carol who administers it too, and files of Alice."""
    alice = founder(parent)
    bob = joined(parent, "bob", alice, Permission.WRITE)
    carol = joined(parent, "carol", alice, Permission.ADMIN)
    await begin(live, alice, bob, carol)
    files = Files(alice, live, {})
    for _ in range(number):
        await files.upload()
    return alice, bob, carol, files


async def rotate_without_scope(live: Live, member: Member, *remove: Member) -> None:
    async with member.client(live, scope="sync") as client:
        await member.rotator(client).run([one.person.did for one in remove])


async def standing_of(live: Live, member: Member) -> tuple[tuple[int, int | None], list[int]]:
    """Epoch and pending rewrap, and the epochs of the keys of records."""
    async with member.client(live) as client:
        return await epoch_of(client, member), await keys_of(client, member)


async def test_a_rotation_killed_before_any_step_leaves_every_file_to_who_stays_and_none_to_who_went(
    live: Live, tmp_path: Path
) -> None:
    alice, bob, _, _ = await with_files(live, tmp_path / "first")
    fuse = Fuse(1000)
    await rotate(live, alice, bob, step=fuse)
    assert fuse.steps == 8
    for killed_at in range(fuse.steps):
        alice, bob, carol, files = await with_files(live, tmp_path / str(killed_at))
        with pytest.raises(Killed):
            await rotate(live, alice, bob, step=Fuse(killed_at))
        await rotate(live, alice)
        for member in (alice, carol):
            assert await files.epochs_read_by(member, epoch=2) == [2]
            assert await standing_of(live, member) == ((2, None), [2])
        async with files.client_of(bob) as his:
            for file in files.keys:
                with pytest.raises(FileRefused, match="403: access denied"):
                    await his.find(str(bob.shared.space), file, ucan=bob.shared.ucan)


async def test_without_the_scope_a_rotation_stays_open_and_everybody_reads_on(
    live: Live, tmp_path: Path
) -> None:
    alice, bob, carol, files = await with_files(live, tmp_path)
    for _ in range(2):
        with pytest.raises(FilesLeft, match="epoch 2 with a new key, but 2 files have their former one"):
            await rotate_without_scope(live, alice)
        assert await standing_of(live, alice) == ((2, 2), [2])
    await files.upload(epoch=2)
    for member in (alice, bob, carol):
        assert await files.epochs_read_by(member, epoch=2) == [1, 2]

    await rotate(live, alice)
    assert not rotating(alice)
    for member in (alice, bob, carol):
        assert await files.epochs_read_by(member, epoch=2) == [2]
        assert await standing_of(live, member) == ((2, None), [2])


async def test_what_one_leaves_open_without_the_scope_another_administrator_closes(
    live: Live, tmp_path: Path
) -> None:
    alice, bob, carol, files = await with_files(live, tmp_path, 1)
    with pytest.raises(FilesLeft, match="1 file has its former one"):
        await rotate_without_scope(live, alice)
    await rotate(live, carol)
    for member in (alice, bob, carol):
        assert await files.epochs_read_by(member, epoch=3) == [3]
    assert await standing_of(live, alice) == ((3, None), [3])
    await rotate_without_scope(live, alice)
    assert not rotating(alice)
    assert await standing_of(live, alice) == ((3, None), [3])


async def test_a_rotation_that_is_left_open_never_holds_up_a_removal(live: Live, tmp_path: Path) -> None:
    alice, bob, carol, files = await with_files(live, tmp_path)
    with pytest.raises(FilesLeft):
        await rotate_without_scope(live, alice)
    with pytest.raises(FilesLeft, match="epoch 3"):
        await rotate_without_scope(live, alice, bob)
    assert await standing_of(live, carol) == ((3, 3), [3])
    assert await files.epochs_read_by(carol, epoch=3) == [1]
    assert not {2, 3} & bob.shared.keys.keys()


async def test_without_the_scope_files_that_have_the_new_key_hold_nothing_up(
    live: Live, tmp_path: Path
) -> None:
    alice, _, _, files = await with_files(live, tmp_path, 1)
    with pytest.raises(Killed):
        await rotate(live, alice, step=Fuse(4))  # before the epoch is completed
    assert await files.epochs_read_by(alice, epoch=2) == [2]
    assert (await standing_of(live, alice))[0] == (2, 2)
    await rotate_without_scope(live, alice)
    assert (await standing_of(live, alice))[0] == (2, None)


class Meddled(SyncClient):
    """Has something else happen between the first listing of files' keys and what is made of it."""

    meddle: Callable[[], Awaitable[None]] | None = None

    async def file_deks_rewrap(self, space: str, deks: Sequence[RewrappedDek], *, ucan: str = "") -> int:
        if self.meddle is not None:
            meddle, self.meddle = self.meddle, None
            await meddle()
        return await super().file_deks_rewrap(space, deks, ucan=ucan)


async def rotate_meddled(live: Live, member: Member, meddle: Callable[[], Awaitable[None]]) -> None:
    async def token() -> str:
        return live.token(member.name, did=member.person.did)

    async with Meddled(f"ws://127.0.0.1:{live.port}/api/v1/ws", token) as client:
        client.meddle = meddle
        await member.rotator(client).run([])
        assert client.meddle is None


async def test_a_file_that_comes_under_the_old_key_meanwhile_is_rewrapped_too(
    live: Live, tmp_path: Path
) -> None:
    alice, bob, _, files = await with_files(live, tmp_path)
    await rotate_meddled(live, alice, files.upload)
    assert len(files.keys) == 3
    assert await files.epochs_read_by(bob, epoch=2) == [2]
    assert await standing_of(live, alice) == ((2, None), [2])


async def test_a_file_that_is_deleted_meanwhile_does_not_end_the_rotation(live: Live, tmp_path: Path) -> None:
    alice, bob, _, files = await with_files(live, tmp_path)
    gone = Files(alice, live, {})
    await gone.upload(path="1.txt")

    async def delete() -> None:
        shared = alice.shared
        record = SharedCipher(shared.epoch_keys, shared.space).record_id("1.txt")
        async with alice.client(live) as client:
            deks = [
                one.seq
                async for one in client.deks(str(shared.space), ucan=shared.ucan)
                if one.id == str(record)
            ]
            change = PushChange(id=str(record), expected_cursor=deks[0])
            assert (await client.push(str(shared.space), [change], ucan=shared.ucan)).ok

    await rotate_meddled(live, alice, delete)
    assert await files.epochs_read_by(bob, epoch=2) == [2]
    async with files.client_of(alice) as client:
        assert await client.find(str(alice.shared.space), *gone.keys, ucan=alice.shared.ucan) is None
    async with alice.client(live) as sync:
        assert await epoch_of(sync, alice) == (2, None)


async def test_a_rotation_by_command_keeps_large_files_of_a_folder_for_who_stays(
    town: Town, database_url: str
) -> None:
    alice, bob, carol = (town.person(name) for name in ("alice", "bob", "carol"))
    folder, bobs, carols = alice.folder("trip"), town.parent / "bobs", town.parent / "carols"
    content = os.urandom(700_000)
    async with town.server():
        assert (await alice.run("space", "create", folder)).status == 0
        (folder / "film.raw").write_bytes(content)
        assert (await alice.run("push", folder)).status == 0
        for name in ("bob", "carol"):
            assert (await alice.run("space", "invite", folder, "--to-user", name)).status == 0
        assert (await bob.run("space", "accept", bobs)).status == 0
        assert (bobs / "film.raw").read_bytes() == content

        narrow = DevIssuer(town.data_dir).mint("alice", now=datetime.now(UTC), scope="sync")
        for number in (1, 2):
            open_still = await alice.run("space", "rotate", folder, LESS_SYNC_TOKEN=narrow)
            assert (open_still.status, open_still.out) == (1, ""), number
            assert "epoch 2 with a new key, but 1 file has its former one" in open_still.err
        assert await _epochs_of_files(database_url) == [1]

        assert (await alice.run("space", "rotate", folder, "--remove", await bob.did())).status == 0
        assert await _epochs_of_files(database_url) == [3]
        accepted = await carol.run("space", "accept", carols)
        assert accepted.status == 0, accepted.err
        assert (carols / "film.raw").read_bytes() == content
        assert (await bob.run("pull", bobs)).status == 9


async def _epochs_of_files(database_url: str) -> list[int]:
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT wrapped_dek FROM files")
    finally:
        await connection.close()
    return [int.from_bytes(row["wrapped_dek"][:4], "big") for row in rows]
