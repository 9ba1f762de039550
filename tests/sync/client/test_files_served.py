"""The client of files against the real server."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from less_sync.auth import Permission
from less_sync.bins.dev import DevPeople
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.client import (
    FileChange,
    FileClient,
    FileInfo,
    FileNotice,
    FileRefused,
    FilesNotServed,
    FilesScopeMissing,
    FileTooLarge,
    PushChange,
    ServerUnavailable,
    SubscribeSpace,
    SyncClient,
    SyncNotice,
    personal_space,
)
from tests.live import Live, Person, live_server
from tests.sync.client.test_files import DEK, MIB, Content, tokens
from tests.wire.process import ServerProcess

LIMIT = 3 * MIB


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, blobs=MemoryBlobs(), file_bytes_max=LIMIT) as running:
        yield running


def url_of(port: int) -> str:
    return f"ws://127.0.0.1:{port}/api/v1/ws"


@dataclass
class User:
    """Somebody with both clients and one record."""

    sync: SyncClient
    files: FileClient
    space: str
    record: UUID
    ucan: str = ""

    async def put(self, file: UUID, content: Content, record: UUID | None = None, ucan: str = "") -> bool:
        return await self.files.upload(
            self.space,
            file,
            record=record or self.record,
            wrapped_dek=DEK,
            size_bytes=content.size_bytes,
            content=content,
            ucan=ucan or self.ucan,
        )

    async def get(self, file: UUID) -> bytes | None:
        async with self.files.download(self.space, file, ucan=self.ucan) as found:
            if found is None:
                return None
            return b"".join([piece async for piece in found.chunks()])

    async def write(self, cursor: int = 0, blob: bytes | None = b"x") -> int:
        """Push the record and return its cursor."""
        change = PushChange(id=str(self.record), blob=blob, expected_cursor=cursor)
        result = await self.sync.push(self.space, [change], ucan=self.ucan)
        assert result.ok
        return result.cursor


@asynccontextmanager
async def user(url: str, *given: str) -> AsyncIterator[User]:
    """Somebody in their personal space; the files are asked for with these tokens, one after the other."""
    async with SyncClient(url, tokens(given[-1])) as sync, FileClient(url, tokens(*given)) as files:
        yield User(sync, files, str(personal_space(given[-1])), uuid4())


async def test_a_file_goes_up_is_announced_comes_down_and_goes_with_its_record(live: Live) -> None:
    file, content = uuid4(), Content(5, bytes(range(256)) * 2000)
    async with user(url_of(live.port), live.token("alice")) as alice:
        cursor = await alice.write()
        await alice.sync.subscribe([SubscribeSpace(id=alice.space, since=0)])
        assert await alice.get(file) is None
        assert await alice.put(file, content) is True
        assert await alice.put(file, content) is False
        assert await alice.get(file) == content.piece * 5
        assert await alice.files.find(alice.space, file) == FileInfo(DEK, content.size_bytes)
        change = FileChange(str(file), str(alice.record), content.size_bytes, DEK)
        assert await alice.sync.next_notice() == FileNotice(alice.space, cursor + 1, [change])

        async with user(url_of(live.port), live.token("alice")) as phone:
            phone.record = alice.record
            await phone.write(cursor, None)
        notices = [await alice.sync.next_notice(), await alice.sync.next_notice()]
        assert [type(notice) for notice in notices] == [SyncNotice, FileNotice]
        assert isinstance(notices[1], FileNotice)
        assert notices[1].files == [FileChange(str(file), str(alice.record), deleted=True)]
        assert await alice.get(file) is None
        assert await alice.files.find(alice.space, file) is None


async def test_each_refusal_is_told_for_what_it_is(live: Live) -> None:
    async with user(url_of(live.port), live.token("alice")) as alice:
        await alice.write()
        with pytest.raises(FileTooLarge, match="3 MB"):
            await alice.put(uuid4(), Content(1, bytes(LIMIT + 1)))
        with pytest.raises(FileRefused, match="400: record not found in this space"):
            await alice.put(uuid4(), Content(), record=uuid4())
        alice.space = str(uuid4())
        with pytest.raises(FileRefused, match="404: space not found"):
            await alice.put(uuid4(), Content())
        assert await alice.get(uuid4()) is None
    async with user(url_of(live.port), live.token("alice", scope="sync")) as alice:
        for ask in (alice.put(uuid4(), Content()), alice.get(uuid4()), alice.files.served(alice.space)):
            with pytest.raises(FilesScopeMissing):
                await ask
        with pytest.raises(FilesScopeMissing):
            await alice.files.find(alice.space, uuid4())


async def test_a_server_without_file_storage_says_so(database_url: str) -> None:
    async with live_server(database_url) as live, user(url_of(live.port), live.token("alice")) as alice:
        await alice.write()
        for ask in (alice.put(uuid4(), Content()), alice.get(uuid4()), alice.files.served(alice.space)):
            with pytest.raises(FilesNotServed):
                await ask
        with pytest.raises(FilesNotServed):
            await alice.files.find(alice.space, uuid4())


async def test_a_large_upload_that_is_refused_is_not_sent_to_its_end(live: Live) -> None:
    content = Content(50, bytes(MIB))
    async with user(url_of(live.port), live.token("alice")) as alice:
        await alice.write()
        with pytest.raises(FileTooLarge):
            await alice.put(uuid4(), content)
        alice.space = "no-uuid"
        with pytest.raises(FileRefused, match="400: invalid space ID"):
            await alice.put(uuid4(), content)
    assert content.taken_bytes <= 8 * MIB
    assert content.ended == 2


async def test_an_expired_token_is_replaced_before_the_content_counts(live: Live) -> None:
    content = Content(2, bytes(MIB))
    async with user(url_of(live.port), live.token("alice", exp=1), live.token("alice")) as alice:
        await alice.write()
        file = uuid4()
        assert await alice.put(file, content) is True
        assert await alice.get(file) == bytes(2 * MIB)
    assert content.begun == 2


async def test_in_a_shared_space_the_ucan_decides(live: Live) -> None:
    alice, bob = Person("alice"), Person("bob")
    file, space = uuid4(), str(uuid4())
    admin = alice.grant(alice, space, Permission.ADMIN)
    reader = alice.grant(bob, space, Permission.READ)
    async with user(url_of(live.port), live.token("alice", did=alice.did)) as hers:
        await hers.sync.space_create(space, alice.root_key)
        hers.space, hers.ucan = space, admin
        await hers.write()
        assert await hers.put(file, Content()) is True
        async with user(url_of(live.port), live.token("bob", did=bob.did)) as his:
            his.space = space
            with pytest.raises(FileRefused, match="401: authorization required"):
                await his.get(file)
            with pytest.raises(FileRefused, match="401: authorization required"):
                await his.files.find(space, file)
            his.ucan = reader
            assert await his.get(file) == Content().piece
            with pytest.raises(FileRefused, match="403: access denied"):
                await his.put(uuid4(), Content(), record=hers.record)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> dict[str, str]:
    """Of a server in a process of its own, with files in a directory."""
    return {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "FILE_STORAGE_BACKEND": "local"}


async def test_a_server_killed_in_the_middle_takes_the_same_upload_afterwards(
    settings: dict[str, str], tmp_path: Path
) -> None:
    file, content = uuid4(), Content(30, bytes(MIB))
    token = DevPeople(tmp_path).token("alice")
    async with ServerProcess(settings, ("--dev",)) as server, user(url_of(server.port), token) as alice:
        await alice.write()

        async def killed_midway() -> AsyncIterator[bytes]:
            async for piece in content():
                yield piece
                if content.taken_bytes == 20 * MIB:
                    await server.kill()

        with pytest.raises(ServerUnavailable):
            await alice.files.upload(
                alice.space,
                file,
                record=alice.record,
                wrapped_dek=DEK,
                size_bytes=content.size_bytes,
                content=killed_midway,
            )
        record = alice.record
    async with ServerProcess(settings, ("--dev",)) as server, user(url_of(server.port), token) as alice:
        alice.record = record
        assert await alice.get(file) is None
        assert await alice.put(file, content) is True
        assert await alice.get(file) == bytes(30 * MIB)


async def test_memory_does_not_grow_with_a_file(settings: dict[str, str], tmp_path: Path) -> None:
    file, content = uuid4(), Content(64, bytes(MIB))
    async with (
        ServerProcess(settings, ("--dev",)) as server,
        user(url_of(server.port), DevPeople(tmp_path).token("alice")) as alice,
    ):
        await alice.write()
        tracemalloc.start()
        try:
            assert await alice.put(file, content) is True
            got_bytes = 0
            async with alice.files.download(alice.space, file) as found:
                assert found is not None
                async for piece in found.chunks():
                    got_bytes += len(piece)
                    await asyncio.sleep(0)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert got_bytes == 64 * MIB
    assert peak_bytes < 8 * MIB
