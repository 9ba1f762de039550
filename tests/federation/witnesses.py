"""Who looks on while something breaks: clients whose own work goes on, and writers who keep count."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final
from uuid import UUID

from less_sync.sync.protocol.frames import Notification
from tests.federation.rig import Node, Shared, change, notice, subscribed
from tests.live import Client, Person

PACE_S: Final = 0.02
ATTEMPTS_MAX: Final = 400


@asynccontextmanager
async def undisturbed(*nodes: Node) -> AsyncIterator[None]:
    """While the block runs, a client of each server works in a space of its own and is answered in order.

    Each keeps three pushes in flight and hears of every one on a second connection.
    """
    stop = asyncio.Event()
    tasks = [asyncio.create_task(_work(node, stop)) for node in nodes]
    try:
        yield
    finally:
        stop.set()
        counts = await asyncio.gather(*tasks)
    assert all(counts), counts


async def _work(node: Node, stop: asyncio.Event) -> int:
    writer, hearer = await node.connect("bystander"), await node.connect("bystander")
    await hearer.subscribe()
    cursor = 0
    while not stop.is_set():
        ids = [writer.send("push", {"space": writer.space, "changes": [change()]}) for _ in range(3)]
        for id in ids:
            frame = await writer.next()
            cursor += 1
            assert (getattr(frame, "id", ""), getattr(frame, "result", None)) == (
                id,
                {"ok": True, "cursor": cursor},
            )
        assert [(await notice(hearer))["cursor"] for _ in ids] == list(range(cursor - 2, cursor + 1))
        await asyncio.sleep(PACE_S)
    await writer.socket.hangup(30)
    await hearer.socket.hangup(30)
    return cursor


@dataclass(slots=True)
class Writer:
    """One user at an edge who repeats what was not acknowledged, as a client does.

    Every third push edits what the one before has made.
    """

    client: Client
    shared: Shared
    ucan: str
    random: Random
    acknowledged: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Cursor and blob of each record as last acknowledged; cursor 0 where only a conflict told of it."""
    pushes: int = 0
    unanswered: int = 0
    """Answers that left open whether the push was written."""

    @classmethod
    async def at(cls, node: Node, person: Person, shared: Shared, seed: int) -> "Writer":
        return cls(await node.join(person), shared, shared.grant(person), Random(seed))

    async def push(self) -> None:
        """Push one change until it is known to be written.

        A push is repeated as it was: `conflict` to a repetition says that an earlier one was written.
        """
        last = list(self.acknowledged.items())[-1:] if self.pushes % 3 == 2 else []
        id, (expected, _) = last[0] if last else (str(UUID(int=self.random.getrandbits(128))), (0, b""))
        if last and not expected:  # its cursor is not known
            id = str(UUID(int=self.random.getrandbits(128)))
        blob = self.random.randbytes(200)
        written = change(blob, id=id, expected_cursor=expected)
        for attempt in range(ATTEMPTS_MAX):
            answer = await self.client.push(written, space=self.shared.id, ucan=self.ucan)
            if answer == {"ok": False, "error": "internal"}:
                self.unanswered += 1
                await asyncio.sleep(PACE_S)
                continue
            # A link repeats once what was cut off, so that even a first answer may be a conflict.
            assert answer["ok"] or (answer["error"] == "conflict"), (attempt, answer)
            self.acknowledged[id] = answer.get("cursor", 0), blob
            self.pushes += 1
            return
        raise AssertionError("never acknowledged")


async def written_once(home: Node, shared: Shared, writers: list[Writer]) -> None:
    """Check that the home holds everything acknowledged, as acknowledged, and nothing twice."""
    client = await home.join(shared.owner)
    (_, begin), *entries, _ = await client.pull(space=shared.id, ucan=shared.grant(shared.owner))
    records = {entry["id"]: (entry["cursor"], entry["blob"]) for _, entry in entries}
    assert len(records) == len(entries)
    known = {id: told for writer in writers for id, told in writer.acknowledged.items()}
    assert records.keys() == known.keys()
    for id, (cursor, blob) in known.items():
        assert records[id][1] == blob
        assert cursor in (0, records[id][0])
    # Each push that was written moved the cursor by one, and each was acknowledged in the end.
    assert begin["cursor"] == sum(writer.pushes for writer in writers)
    await client.socket.hangup(30)


async def drain(client: Client, until_cursor: int) -> list[Any]:
    """Everything a subscriber is told until it knows of this cursor."""
    told: list[Any] = []
    while not told or told[-1]["cursor"] < until_cursor:
        frame = await client.next()
        assert isinstance(frame, Notification), frame
        assert frame.method == "sync", frame
        told.append(frame.params)
    return told


@dataclass(slots=True)
class Replica:
    """What a client knows of a space that does as docs/protocol.md tells it: apply, ignore, or pull."""

    client: Client
    shared: Shared
    ucan: str
    cursor: int = 0
    records: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    applied: int = 0
    pulls: int = 0

    @classmethod
    async def at(cls, node: Node, person: Person, shared: Shared) -> "Replica":
        replica = cls(await subscribed(node, person, shared), shared, shared.grant(person))
        await replica.pull()
        return replica

    async def follow(self, cursor: int) -> None:
        """Take what comes until everything up to this cursor is known."""
        while self.cursor < cursor:
            told = await notice(self.client)
            if told["cursor"] <= self.cursor:
                continue
            if told["prev"] == self.cursor:
                self._apply(told["records"])
                self.cursor = told["cursor"]
                self.applied += 1
            else:
                await self.pull()

    async def pull(self) -> None:
        """Read all that is missing; a home that is away is asked again."""
        for _ in range(ATTEMPTS_MAX):
            params = {"spaces": [{"id": self.shared.id, "since": self.cursor, "ucan": self.ucan}]}
            response, chunks = await self.client.response(self.client.send("pull", params))
            if response.error is None and chunks:
                self.pulls += 1
                self._apply([chunk.data for chunk in chunks[1:-1]])
                data: Any = chunks[0].data
                self.cursor = data["cursor"]
                return
            await asyncio.sleep(PACE_S)
        raise AssertionError("never read")

    def _apply(self, records: Iterable[Any]) -> None:
        for record in records:
            self.records[record["id"]] = record["cursor"], record["blob"]
