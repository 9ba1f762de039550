"""Faults that pass are waited out, and that access is gone is believed from one answer alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from less_sync.client.folder.crypto import RecordCipher, SealedFile
from less_sync.client.folder.engine import Engine, WatchTimes
from less_sync.client.folder.errors import AccessLost, ExitCode, FolderError, ServerDown
from less_sync.client.folder.exchange import Exchange
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.plaintext import PlainFile
from less_sync.client.folder.replica import Replica
from less_sync.client.folder.report import Kind
from less_sync.client.folder.shared import grant_of
from less_sync.client.folder.state import FolderState
from less_sync.sync.client import SyncClient
from less_sync.sync.protocol.frames import Request
from less_sync.sync.protocol.messages import PushParams, decode_params
from tests.client.folder.devices import KEY
from tests.client.folder.test_engine import Log
from tests.client.folder.test_shared import SPACE, ucan
from tests.sync.scripted_server import Peer, scripted

TIMES = WatchTimes(scan_interval_s=0.02, retry_s=0.01, retry_s_max=0.02, patience_s=0.2)
TIMEOUT_S = 20.0


@asynccontextmanager
async def engine_at(url: str, root: Path, told: Log) -> AsyncIterator[Engine]:
    async def token() -> str:
        return "token"

    root.mkdir(exist_ok=True)
    with FolderState.open(root) as state:
        tree = FileTree(root, state.directory)
        cipher = RecordCipher(KEY, SPACE)
        replica = Replica(root, state, tree, cipher, tell=told.tell, now=lambda: datetime.now(UTC))
        async with SyncClient(url, token) as client:
            exchange = Exchange(client, SPACE, replica, told, grant=grant_of(ucan()))
            async with asyncio.timeout(TIMEOUT_S):
                yield Engine(exchange, told, TIMES)
        tree.close()


async def nothing_new(peer: Peer, request: Request) -> None:
    """Answer a pull of an empty space."""
    space = str(SPACE)
    begin = {"space": space, "prev": -1, "cursor": 1, "key_generation": 1}
    await peer.chunk(request, "pull.begin", begin)
    await peer.chunk(request, "pull.commit", {"space": space, "prev": -1, "cursor": 1, "count": 0})
    await peer.answer(request, {"_chunks": 2})


async def test_a_forbidden_that_subscribing_does_not_confirm_is_tried_again(tmp_path: Path) -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        for _ in range(2):
            await peer.refuse(await peer.request("pull"), "forbidden")
            await peer.accept_subscribe()
        await nothing_new(peer, await peer.request("pull"))

    told = Log()
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        await engine.pull_once()
    assert told.details(Kind.DISCONNECTED) == ["forbidden: because; trying again"] * 2


async def test_access_is_gone_when_subscribing_says_so(tmp_path: Path) -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.refuse(await peer.request("pull"), "forbidden")
        await peer.accept_subscribe(str(SPACE))

    told = Log()
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        with pytest.raises(AccessLost, match="revoked") as caught:
            await engine.pull_once()
    assert (caught.value.exit_code, told.events) == (ExitCode.ACCESS_LOST, [])


@pytest.mark.parametrize("code", ["internal", "rate_limited", "conflict", "not_found", "a_code_of_tomorrow"])
async def test_a_fault_that_does_not_pass_is_the_servers_in_the_end(tmp_path: Path, code: str) -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        while True:
            await peer.refuse(await peer.request("pull"), code)

    told = Log()
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        with pytest.raises(ServerDown, match=code) as caught:
            await engine.pull_once()
    assert caught.value.exit_code == ExitCode.SERVER_UNREACHABLE
    assert len(told.details(Kind.DISCONNECTED)) > 3


@pytest.mark.parametrize("code", ["invalid_params", "payload_too_large", "method_not_found"])
async def test_what_a_server_will_never_take_is_not_asked_again(tmp_path: Path, code: str) -> None:
    asked = 0

    async def act(peer: Peer) -> None:
        nonlocal asked
        await peer.welcome()
        while True:
            request = await peer.request("pull")
            asked += 1
            await peer.refuse(request, code)

    async with scripted(act) as server, engine_at(server.url, tmp_path, Log()) as engine:
        with pytest.raises(FolderError, match=code) as caught:
            await engine.pull_once()
    assert (caught.value.exit_code, asked) == (ExitCode.FAILURE, 1)


async def test_a_push_that_was_refused_in_passing_is_sent_again(tmp_path: Path) -> None:
    pushed = 0

    async def act(peer: Peer) -> None:
        nonlocal pushed
        await peer.welcome()
        for answer in ({"ok": False, "error": "forbidden"}, {"ok": True, "cursor": 2}):
            await nothing_new(peer, await peer.request("pull"))
            await peer.answer(await peer.request("push"), answer)
            pushed += 1
            if not answer["ok"]:
                await peer.accept_subscribe()

    told = Log()
    (tmp_path / "a.txt").write_text("a")
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        await engine.push_once()
    assert pushed == 2
    assert told.told(Kind.PUSHED) == ["a.txt"]


async def test_a_watch_waits_a_fault_out_and_ends_when_access_is_gone(tmp_path: Path) -> None:
    watching = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.welcome()
        for _ in range(30):  # more than a push or pull would wait for
            await peer.accept_subscribe()
            await peer.refuse(await peer.request("pull"), "forbidden")
            await peer.accept_subscribe()  # the question
        await peer.accept_subscribe()
        await nothing_new(peer, await peer.request("pull"))
        watching.set()
        await peer.announce("revoked", {"space": str(SPACE), "reason": "ucan_revoked"})
        await peer.accept_subscribe(str(SPACE))

    told = Log()
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        with pytest.raises(AccessLost):
            await engine.watch()
    assert watching.is_set()
    assert len(told.details(Kind.DISCONNECTED)) == 30
    assert told.details(Kind.WATCHING) == ["watching; Ctrl-C stops"]


async def test_a_watch_goes_on_when_the_home_of_its_space_refuses_the_server_for_a_while(
    tmp_path: Path,
) -> None:
    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.accept_subscribe()
        await nothing_new(peer, await peer.request("pull"))
        await peer.announce("revoked", {"space": str(SPACE), "reason": "federation_unavailable"})
        for error in ("internal", "not_found"):
            refused = {"space": str(SPACE), "error": error}
            request = await peer.request("subscribe")
            await peer.answer(request, {"spaces": [], "errors": [refused]})
        await peer.accept_subscribe()
        await nothing_new(peer, await peer.request("pull"))
        await peer.announce("revoked", {"space": str(SPACE), "reason": "ucan_revoked"})
        await peer.accept_subscribe(str(SPACE))

    told = Log()
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        with pytest.raises(AccessLost):
            await engine.watch()
    assert told.details(Kind.DISCONNECTED) == [
        "the home of the space refuses our server, or does not know it; asking again",
        "internal: the server does not show the space; trying again",
        "not_found: the home of the space does not know it; trying again",
    ]


async def test_news_of_a_gap_without_records_brings_a_pull_and_old_ones_none(tmp_path: Path) -> None:
    pulled = asyncio.Event()

    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.accept_subscribe()
        await nothing_new(peer, await peer.request("pull"))
        gap = {"space": str(SPACE), "prev": -1, "key_generation": 1, "records": []}
        await peer.announce("sync", gap | {"cursor": 1})
        await peer.announce("sync", gap | {"cursor": 7})
        await nothing_new(peer, await peer.request("pull"))
        pulled.set()
        await peer.announce("revoked", {"space": str(SPACE), "reason": "ucan_revoked"})
        await peer.accept_subscribe(str(SPACE))

    async with scripted(act) as server, engine_at(server.url, tmp_path, Log()) as engine:
        with pytest.raises(AccessLost):
            await engine.watch()
    assert pulled.is_set()


async def test_a_watch_sends_its_own_again_when_the_server_announces_an_older_version(tmp_path: Path) -> None:
    cipher = RecordCipher(KEY, SPACE)
    record = cipher.record_id("p")
    pushed: list[int] = []

    def shown(version: int, cursor: int) -> dict[str, object]:
        sealed = cipher.seal(record, PlainFile("p", 0, bytes([version]), version=version), epoch=1)
        return {"id": str(record), "blob": sealed.blob, "dek": sealed.dek, "cursor": cursor}

    async def pulled(peer: Peer, version: int, cursor: int) -> None:
        request = await peer.request("pull")
        space = {"space": str(SPACE)}
        await peer.chunk(request, "pull.begin", space | {"prev": -1, "cursor": cursor, "key_generation": 1})
        await peer.chunk(request, "pull.record", space | shown(version, cursor))
        await peer.chunk(request, "pull.commit", space | {"prev": -1, "cursor": cursor, "count": 1})
        await peer.answer(request, {"_chunks": 3})

    async def act(peer: Peer) -> None:
        await peer.welcome()
        await peer.accept_subscribe()
        await pulled(peer, 2, 5)
        notice = {"space": str(SPACE), "prev": 5, "cursor": 6, "key_generation": 1}
        await peer.announce("sync", notice | {"records": [shown(1, 6)]})
        await pulled(peer, 1, 6)
        request = await peer.request("push")
        (change,) = decode_params(PushParams, request.params).changes
        assert change.blob is not None
        assert change.dek is not None
        sealed = SealedFile(change.blob, change.dek)
        pushed.extend([change.expected_cursor, cipher.open(record, sealed).version])
        await peer.answer(request, {"ok": True, "cursor": 7})
        await peer.announce("revoked", {"space": str(SPACE), "reason": "ucan_revoked"})
        await peer.accept_subscribe(str(SPACE))

    told = Log()
    async with scripted(act) as server, engine_at(server.url, tmp_path, told) as engine:
        with pytest.raises(AccessLost):
            await engine.watch()
    assert pushed == [6, 3]
    assert (tmp_path / "p").read_bytes() == b"\x02"
    assert told.details(Kind.ROLLED_BACK)[0].startswith("the server shows version 1")
