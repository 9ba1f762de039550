"""A server killed with `kill -9` while clients push keeps every acknowledged change, once."""

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import cbor2
import pytest
from websockets.exceptions import ConnectionClosed

from less_sync.sync.protocol.frames import Response, decode_server_frame, encode_request
from tests.bench.usage import children
from tests.live import Client
from tests.wire.client import Message, Socket, open_socket
from tests.wire.issuer import AUDIENCE, Issuer, new_issuer, served_key_set
from tests.wire.process import ServerProcess

ISSUER = "https://kill.example"
WRITERS = 8
SHARED_BY = 4
"""So many writers share one space; the others have a space each."""
ACKNOWLEDGED_BEFORE_KILL = 1000
TIMEOUT_S = 30.0


class Gone(Exception):
    """The connection ended while an answer was awaited."""


async def log_in(port: int, token: str) -> Socket:
    socket = await open_socket("127.0.0.1", port)
    socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
    return socket


async def push(socket: Socket, space: str, id: str, blob: bytes, expected_cursor: int) -> Any:
    """Push one record and return the result."""
    change = {"id": id, "blob": blob, "expected_cursor": expected_cursor}
    socket.send(encode_request("p", "push", {"space": space, "changes": [change]}))
    event = await socket.receive(TIMEOUT_S)
    if not isinstance(event, Message):
        raise Gone(event)
    response = decode_server_frame(event.data)
    assert isinstance(response, Response)
    return response.result


@dataclass(slots=True)
class Writer:
    """One device. Every third push edits the record pushed before; the others make a new one."""

    space: str
    token: str
    acknowledged: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Cursor and blob of each record as last acknowledged."""
    pushes: int = 0
    attempt: tuple[str, bytes, int] | None = None
    """Id, blob and expected cursor of the push that has not been answered."""

    async def push_until_cut(self, port: int, acknowledged: Callable[[], None]) -> None:
        socket = await log_in(port, self.token)
        last = ""
        try:
            while True:
                edit = last if self.pushes % 3 == 2 else ""
                expected = self.acknowledged[edit][0] if edit else 0
                self.attempt = id, blob, _ = (edit or str(uuid4()), os.urandom(300), expected)
                answer = await push(socket, self.space, id, blob, expected)
                assert answer["ok"] is True, answer
                self.acknowledged[id] = (answer["cursor"], blob)
                self.attempt = None
                self.pushes += 1
                last = id
                acknowledged()
        except (Gone, ConnectionClosed):
            return

    async def repeat_unanswered(self, port: int) -> None:
        """Do as a client whose answer was lost: a conflict says that the push had been written."""
        if self.attempt is None:
            return
        id, blob, expected = self.attempt
        socket = await log_in(port, self.token)
        answer = await push(socket, self.space, id, blob, expected)
        assert answer["ok"] is True or answer["error"] == "conflict", answer
        self.pushes += 1
        await socket.hangup(TIMEOUT_S)


def make_writers(issuer: Issuer) -> list[Writer]:
    shared, writers = str(uuid4()), []
    for number in range(WRITERS):
        space = shared if number < SHARED_BY else str(uuid4())
        claims = {"iss": ISSUER, "sub": space, "client_id": "c", "scope": "sync"}
        claims |= {"personal_space_id": space, "mailbox_id": f"{number:064x}"}
        writers.append(Writer(space, issuer.token(claims)))
    return writers


async def stored(port: int, writer: Writer) -> tuple[int, dict[str, tuple[int, bytes]]]:
    """Pull the writer's space: its cursor, and cursor and blob of each record, each seen once."""
    client = Client(await log_in(port, writer.token), writer.space)
    (_, begin), *entries, (_, commit) = await client.pull()
    await client.socket.hangup(TIMEOUT_S)
    records = {entry["id"]: (entry["cursor"], entry["blob"]) for _, entry in entries}
    assert len(records) == len(entries) == commit["count"]
    return begin["cursor"], records


async def check_everything_acknowledged_is_there(port: int, writers: list[Writer]) -> None:
    for space in {writer.space for writer in writers}:
        owners = [writer for writer in writers if writer.space == space]
        cursor, records = await stored(port, owners[0])
        unanswered = {writer.attempt[0]: writer.attempt[1] for writer in owners if writer.attempt}
        expected: dict[str, tuple[int, bytes]] = {}
        for writer in owners:
            expected |= writer.acknowledged
        for id, (at, blob) in expected.items():
            assert records[id] == (at, blob) or records[id][1] == unanswered.get(id)
        for id, (_, blob) in records.items():
            assert id in expected or blob == unanswered[id]
        answered = sum(writer.pushes for writer in owners)
        assert answered <= cursor <= answered + len(unanswered)


async def check_nothing_is_there_twice(port: int, writers: list[Writer]) -> None:
    """After the unanswered pushes were repeated: as many cursors as pushes, so none was applied twice."""
    for space in {writer.space for writer in writers}:
        owners = [writer for writer in writers if writer.space == space]
        cursor, records = await stored(port, owners[0])
        assert cursor == sum(writer.pushes for writer in owners)
        assert len({at for at, _ in records.values()}) == len(records)


def victims(pid: int, *, database_too: bool) -> list[int]:
    """The server's process id and, if wanted, those of its Postgres and of every backend."""
    if not database_too:
        return [pid]
    postmasters = children(pid)
    assert postmasters, "the embedded Postgres is a child of the server"
    return [pid, *postmasters, *(backend for parent in postmasters for backend in children(parent))]


@pytest.mark.parametrize("database_too", [False, True], ids=["server alone", "server and its Postgres"])
async def test_a_server_killed_while_clients_push_keeps_every_acknowledged_change_once(
    tmp_path: Path, database_too: bool
) -> None:
    issuer = new_issuer()
    writers = make_writers(issuer)
    async with served_key_set(issuer) as key_set_url:
        settings = {
            "TRUSTED_ISSUERS": f"{ISSUER}={key_set_url}",
            "AUDIENCES": AUDIENCE,
            "DATA_DIR": str(tmp_path / "data"),
        }
        async with ServerProcess(settings) as server, asyncio.TaskGroup() as tasks:
            enough, count = asyncio.Event(), itertools.count(1)

            def acknowledged() -> None:
                if next(count) == ACKNOWLEDGED_BEFORE_KILL:
                    enough.set()

            for writer in writers:
                tasks.create_task(writer.push_until_cut(server.port, acknowledged))
            await asyncio.wait_for(enough.wait(), 60)
            doomed = victims(server.pid, database_too=database_too)
            for pid in doomed:
                with suppress(ProcessLookupError):  # a backend may have followed its server by itself
                    os.kill(pid, signal.SIGKILL)
            await server.wait(TIMEOUT_S)
        assert any(writer.attempt for writer in writers)
        async with ServerProcess(settings) as server:
            await check_everything_acknowledged_is_there(server.port, writers)
            for writer in writers:
                await writer.repeat_unanswered(server.port)
            await check_nothing_is_there_twice(server.port, writers)
