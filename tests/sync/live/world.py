"""Nodes of one cluster without servers: brokers with ears, over a bus and rows that a test sets."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast
from uuid import UUID

import cbor2

from less_sync.storage import (
    RECORD,
    Invited,
    PullRow,
    Space,
    SpaceNews,
    SpaceState,
    SpaceStore,
    Unavailable,
)
from less_sync.sync.announce import Announcer, Change, Notice
from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker, Granted, Hold, Provisional
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.nodes import Nodes
from less_sync.sync.live.presence import Presence
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.messages import PushChange
from less_sync.sync.protocol.notifications import sync_notification
from tests.sync.live.lossy_bus import Hub, LossyBus

GAP_S = 0.02


@dataclass(eq=False)
class Ear:
    """A subscriber that keeps what it hears, decoded."""

    connection_id: str = "ear"
    is_peer: bool = False
    frames: list[bytes] = field(default_factory=list)
    ended: list[Close] = field(default_factory=list)

    def deliver(self, frame: bytes) -> None:
        self.frames.append(frame)

    def deliver_soon(self, frame: bytes) -> None:
        self.deliver(frame)

    def overflow(self) -> None:
        raise AssertionError("nothing overflows here")

    def end(self, close: Close) -> None:
        self.ended.append(close)

    @property
    def heard(self) -> list[tuple[Any, ...]]:
        """Method of each notification, with prev and cursor where there are such, and cursors of records."""
        heard: list[tuple[Any, ...]] = []
        for frame in self.frames:
            message = cbor2.loads(frame)
            params = message["params"]
            if message["method"] == "sync":
                records = [record["cursor"] for record in params["records"]]
                heard.append(("sync", params["prev"], params["cursor"], records))
            elif "cursor" in params:
                heard.append((message["method"], params["cursor"]))
            else:
                heard.append((message["method"],))
        return heard


@dataclass
class Rows:
    """The one database: where spaces are, what is in them, what is revoked."""

    cursors: dict[UUID, int] = field(default_factory=dict)
    entries: dict[UUID, list[PullRow]] = field(default_factory=dict)
    revoked: set[tuple[UUID, str]] = field(default_factory=set)
    homes: dict[UUID, str] = field(default_factory=dict)
    invitations: list[Invited] = field(default_factory=list)
    is_away: bool = False
    revocations_are_away: bool = False
    """The query for revocations alone fails."""
    reads: list[tuple[int, int]] = field(default_factory=list)
    """Each gap that was read."""
    compared: list[int] = field(default_factory=list)
    """How many spaces each comparison was of."""
    gate: asyncio.Event | None = None
    """Reads of gaps wait for it, once they have seen the rows."""

    def commit(self, space: UUID, record: UUID) -> int:
        """Write a record and return the cursor."""
        cursor = self.cursors[space] = self.cursors.get(space, 0) + 1
        kept = [row for row in self.entries.get(space, ()) if row[2] != record]
        self.entries[space] = [*kept, (RECORD, cursor, record, b"x", None, None, None, None, False)]
        return cursor

    async def get_spaces(self, ids: Sequence[UUID]) -> dict[UUID, Space]:
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        return {
            id: Space(id, "", None, 1, 1, 0, self.cursors[id], None, None) for id in ids if id in self.cursors
        }

    async def compare(self, ids: Sequence[UUID]) -> dict[UUID, SpaceState]:
        self.compared.append(len(ids))
        states = {
            id: SpaceState(
                self.cursors[id], self.homes.get(id), sum(space == id for space, _ in self.revoked)
            )
            for id in ids
            if id in self.cursors
        }
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        return states

    async def between(
        self, space: UUID, above: int, up_to: int, *, rows_max: int, bytes_max: int
    ) -> SpaceNews | None:
        self.reads.append((above, up_to))
        if self.is_away:
            raise Unavailable
        cursor = self.cursors.get(space)
        found = [row for row in self.entries.get(space, ()) if above < row[1] <= up_to]
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if cursor is None:
            return None
        return SpaceNews(cursor, 1, None, found if len(found) <= rows_max else None)

    async def revoked_among(self, pairs: Sequence[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
        await asyncio.sleep(0)
        if self.revocations_are_away:
            raise Unavailable
        return self.revoked & set(pairs)

    async def invited_since(self, seconds: float, after: Invited | None = None) -> Sequence[Invited]:
        await asyncio.sleep(0)
        start = 0 if after is None else self.invitations.index(after) + 1
        return self.invitations[start : start + 2]


class Node:
    """One node, as `build_services` puts it together."""

    def __init__(self, hub: Hub, rows: Rows, name: bytes) -> None:
        limits = Limits(invitation_delay_min_s=0.0, invitation_delay_max_s=0.0)
        self.rows = rows
        self.bus: LossyBus = hub.bus()
        self.broker = Broker(lambda payload: payload)
        self.mailboxes = Mailboxes(limits, Random(1), frame=lambda payload: payload)
        spaces = cast(SpaceStore, rows)  # the announcer reads rows and nothing else
        self.announce = Announcer(self.broker, Presence(limits), self.mailboxes, spaces, looks_s=(0.0,))
        self.forgotten: list[UUID] = []
        self.nodes = Nodes(
            self.bus,
            self.broker,
            self.announce,
            self.mailboxes,
            rows,
            node=name.ljust(8, b"."),
            gap_s=GAP_S,
            forget_key=self.forgotten.append,
        )

    async def prepare(self, ear: Ear, space: UUID, *, text: str = "") -> Provisional:
        provisional = self.broker.prepare(ear, {space: text or str(space)})
        await self.nodes.listen([space])
        return provisional

    def confirm(
        self, provisional: Provisional, space: UUID, cursor: int, hold: Hold | None = None
    ) -> list[UUID]:
        granted = {space: Granted(cursor, hold)}
        behind = self.nodes.entering(granted)
        self.broker.confirm(provisional, granted, behind=behind)
        self.nodes.entered(granted)
        return behind

    async def ear(
        self, space: UUID, *, hold: Hold | None = None, text: str = "", is_peer: bool = False
    ) -> Ear:
        """Somebody who listens from the space's cursor on."""
        ear = Ear(is_peer=is_peer)
        provisional = await self.prepare(ear, space, text=text)
        self.confirm(provisional, space, self.rows.cursors.get(space, 0), hold)
        return ear

    def push(
        self, space: UUID, cursor: int, record: UUID, *, author: Ear | None = None, blob: bytes = b"x"
    ) -> None:
        """Announce a push of this node that has been committed."""
        self.announce.push_begun(space)
        self.announce.push_ended(space, pushed(cursor, record, author=author, blob=blob))

    async def compare(self) -> None:
        await self.nodes.comparison.once()


def pushed(cursor: int, record: UUID, *, author: Ear | None = None, blob: bytes = b"x") -> Change:
    def build(text: str) -> bytes:
        return sync_notification(
            text,
            cursor=cursor,
            key_generation=1,
            rewrap_epoch=None,
            changes=[PushChange(id=str(record), blob=blob, expected_cursor=0)],
        )

    return Change(cursor, (Notice(build, author),), len(blob))


async def a_while(seconds: float = 0.0) -> None:
    """Let timers of no length and what follows from them run."""
    await asyncio.sleep(seconds)
    for _ in range(12):
        await asyncio.sleep(0)
    await asyncio.sleep(0.001)
