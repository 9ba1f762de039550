"""Large files in a space whose home is another server: read here, sent there alone."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from less_sync.client.folder.crypto import SharedCipher
from less_sync.client.folder.engine import Engine
from less_sync.client.folder.exchange import Exchange
from less_sync.client.folder.file_storage import ELSEWHERE, FileStorage
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Kind
from less_sync.client.folder.shared import grant_of
from less_sync.client.folder.state import FolderState
from less_sync.sync.client import FileClient, PullRecord
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE
from tests.client.folder.large import MIB, TIMES
from tests.client.folder.test_engine import Log
from tests.client.sharing.members import ROOT_KEY, founder
from tests.live import live_server
from tests.sync.client.file_server import Act, Call, file_server

SPACE = "3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e"


async def token() -> str:
    return "t"


async def hands_out_and_takes_none(call: Call) -> None:
    """What a server says that is not the space's home; its home has no file yet."""
    if call.method == "PUT":
        await call.body()
        await call.refuse(409, HOSTED_ELSEWHERE)
    else:
        await call.refuse(404, "file not found")


async def hands_out_nothing_either(call: Call) -> None:
    """The same where the home has no way to hand files to other servers."""
    await call.refuse(409, HOSTED_ELSEWHERE)


@pytest.mark.parametrize(
    ("act", "methods"), [(hands_out_and_takes_none, ["GET", "PUT"]), (hands_out_nothing_either, ["GET"])]
)
async def test_whether_the_home_is_elsewhere_is_asked_with_a_file_that_no_server_takes(
    act: Act, methods: list[str]
) -> None:
    async with file_server(act) as server, FileClient(server.url, token) as files:
        assert await FileStorage(files, SPACE, "ucan").trouble() == ELSEWHERE
    assert [call.method for call in server.calls] == methods
    assert {call.headers.get("content-length", "0") for call in server.calls} == {"0"}


async def test_a_server_that_would_store_it_is_not_told_apart_by_the_other_refusals() -> None:
    async def act(call: Call) -> None:
        await call.refuse(*((400, "record not found in this space") if call.method == "PUT" else (404, "")))

    async with file_server(act) as server, FileClient(server.url, token) as files:
        storage = FileStorage(files, SPACE, "ucan")
        assert [await storage.trouble(), await storage.trouble()] == [None, None]
        assert [call.method for call in server.calls] == ["GET", "PUT"]
        assert await FileStorage(files, SPACE, "").trouble() is None
    assert [call.method for call in server.calls] == ["GET", "PUT", "GET"]


async def test_a_push_names_what_only_the_home_stores_and_sends_the_rest(
    database_url: str, tmp_path: Path
) -> None:
    alice, told = founder(tmp_path), Log()
    space, ucan, root = alice.shared.space, alice.shared.ucan, tmp_path / "alice"
    (root / "large").write_bytes(os.urandom(5 * MIB))
    (root / "fits").write_bytes(os.urandom(3 * MIB))
    async with (
        live_server(database_url) as live,
        alice.client(live) as client,
        file_server(hands_out_and_takes_none) as server,
        FileClient(server.url, token) as files,
    ):
        await client.space_create(str(space), ROOT_KEY)
        with FolderState.open(root) as state:
            tree = FileTree(root, state.directory)
            cipher = SharedCipher(alice.shared.epoch_keys, space)
            replica = Replica(root, state, tree, cipher, tell=told.tell, now=lambda: datetime.now(UTC))
            exchange = Exchange(client, space, replica, told, grant=grant_of(ucan), files=files)
            await Engine(exchange, told, TIMES).push_once()
            tree.close()
        stored = [one async for one in client.pull(str(space), 0, ucan=ucan) if isinstance(one, PullRecord)]
    assert (told.told(Kind.PUSHED), told.told(Kind.SKIPPED)) == (["fits"], ["large"])
    assert told.details(Kind.SKIPPED) == [f"too large for a record: 5,242,880 bytes, and {ELSEWHERE}"]
    assert len(stored) == 1
