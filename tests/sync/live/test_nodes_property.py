"""Three servers on one database over a bus that loses, repeats and reorders: who listens misses nothing, and
hears nothing twice or out of order; who writes does not hear himself."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import chain
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from less_sync.sync.protocol.frames import Notification, Response
from tests.live import Client, Live, live_server
from tests.sync.live.lossy_bus import Hub

NODES = 3
WRITES = 15
"""Of each node."""
QUIET_S = 0.3


@dataclass
class Ear:
    """A client that follows a space by what it is told, as docs/protocol.md 9.1 says."""

    client: Client
    cursor: int
    heard: list[tuple[str, int, int]] = field(default_factory=list)
    """Method, prev (of `sync` alone) and cursor of each notification."""
    records: dict[str, int] = field(default_factory=dict)
    behind: list[tuple[str, int, int]] = field(default_factory=list)
    """What did not begin where it was: its method, where that was, and from where on it told."""

    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, cursor: int) -> None:
        while self.cursor < cursor:
            self.changed.clear()
            await self.changed.wait()

    def take(self, notice: Notification) -> None:
        params: Any = notice.params
        cursor, prev = params["cursor"], params.get("prev", params["cursor"] - 1)
        self.heard.append((notice.method, prev, cursor))
        for record in params.get("records", ()):
            self.records[record["id"]] = record["cursor"]
        if cursor > self.cursor:
            # A `sync` without records says pull: what a gap had has been written again since.
            if prev != self.cursor and (notice.method != "sync" or params["records"]):
                self.behind.append((notice.method, self.cursor, prev))
            self.cursor = cursor
            self.changed.set()


async def listen(ear: Ear) -> None:
    while True:
        frame = await ear.client.next()
        assert isinstance(frame, Notification)
        ear.take(frame)


async def subscribed(live: Live) -> Ear:
    client = await live.connect("alice")
    answer = await client.subscribe()
    return Ear(client, answer["spaces"][0]["cursor"])


@dataclass
class Author:
    """Writes by one connection and keeps what it was told meanwhile."""

    client: Client
    chance: Random
    own: set[str] = field(default_factory=set)
    heard: list[Notification] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    async def write(self) -> None:
        for number in range(WRITES):
            ids = [str(uuid4()) for _ in range(self.chance.randint(1, 3))]
            if self.known and self.chance.random() < 0.3:
                ids = [self.chance.choice(list(self.known))]
            changes = [
                {"id": id, "blob": b"%d" % number, "expected_cursor": self.known.get(id, 0)} for id in ids
            ]
            self.own.update(ids)
            answer = await self._ask("push", {"space": self.client.space, "changes": changes})
            assert answer["ok"], answer
            self.known.update(dict.fromkeys(ids, answer["cursor"]))
            await asyncio.sleep(self.chance.uniform(0, 0.01))

    async def _ask(self, method: str, params: dict[str, object]) -> Any:
        sent = self.client.send(method, params)
        while True:
            frame = await self.client.next()
            if isinstance(frame, Response) and frame.id == sent:
                assert frame.error is None
                return frame.result
            assert isinstance(frame, Notification)
            self.heard.append(frame)


async def append_members(client: Client, count: int, chance: Random) -> None:
    """Entries of the log, which take cursors by statements of their own."""
    prev: bytes = b""
    for number in range(count):
        payload = b"entry %d" % number
        digest = hashlib.sha256(payload).digest()
        params = {"space": client.space, "expected_version": number, "entry_hash": digest, "payload": payload}
        await client.call("membership.append", {**params, **({"prev_hash": prev} if prev else {})})
        prev = digest
        await asyncio.sleep(chance.uniform(0, 0.05))


@pytest.fixture
async def hub() -> Hub:
    return Hub()


@pytest.fixture
async def nodes(database_url: str, hub: Hub) -> AsyncIterator[list[Live]]:
    async with AsyncExitStack() as stack:
        lives = [
            await stack.enter_async_context(live_server(database_url, bus=hub.bus())) for _ in range(NODES)
        ]
        for live in lives[1:]:
            live.issuer = lives[0].issuer
            live.services.authenticator = lives[0].services.authenticator
        yield lives


async def quiet(nodes: list[Live], cursor: int, ears: list[Ear]) -> None:
    """Compare every node with the database and wait until everybody has heard of `cursor`."""
    for live in nodes:
        assert live.services.nodes is not None
        await live.services.nodes.comparison.once()
    async with asyncio.timeout(20):
        await asyncio.gather(*(ear.until(cursor) for ear in ears))
    await asyncio.sleep(QUIET_S)


@pytest.mark.parametrize(
    ("loses", "repeats", "delay_s"),
    [(0.0, 0.0, 0.0), (0.3, 0.3, 0.03), (1.0, 0.0, 0.0)],
    ids=["orderly", "lossy", "deaf"],
)
async def test_who_listens_misses_nothing_and_hears_everything_in_order(
    nodes: list[Live], hub: Hub, loses: float, repeats: float, delay_s: float
) -> None:
    chance = Random(7)
    hub.loses, hub.repeats, hub.delay_s = loses, repeats, delay_s
    ears = [await subscribed(live) for live in nodes for _ in range(2)]
    tasks = [asyncio.create_task(listen(ear)) for ear in ears]
    authors = []
    for live in nodes:
        client = await live.connect("alice")
        await client.subscribe()
        authors.append(Author(client, Random(chance.random())))
    writer = await nodes[0].connect("alice")
    async with asyncio.TaskGroup() as group:
        for author in authors:
            group.create_task(author.write())
        group.create_task(append_members(writer, 5, chance))
    space = UUID(authors[0].client.space)
    row = (await nodes[0].services.spaces.get_spaces([space]))[space]
    assert row.cursor == NODES * WRITES + 5
    await quiet(nodes, row.cursor, ears)
    for task in tasks:
        task.cancel()
    stored = {chunk["id"]: chunk["cursor"] for name, chunk in await writer.pull() if name == "pull.record"}
    for ear in ears:
        cursors = [cursor for _, _, cursor in ear.heard]
        assert cursors == sorted(cursors)
        assert len(cursors) == len(set(cursors))
        assert cursors[-1] == row.cursor
        assert ear.records == stored
    for author in authors:
        author.heard += await author.client.heard()
        told = [
            record["id"]
            for notice in author.heard
            for record in (notice.params.get("records", ()) if isinstance(notice.params, dict) else ())
        ]
        assert not author.own & set(told)
    for method, cursor, prev in chain.from_iterable(ear.behind for ear in ears):
        # An entry of the log has no `prev`. What a gap before it had may have been written again since.
        assert method == "membership"
        assert not any(cursor < one <= prev for one in stored.values())
