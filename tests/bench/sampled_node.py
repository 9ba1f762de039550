"""One node of a large cluster, on the announcer's own code: what its part of the news takes of it.

Broker, `Announcer` and `Nodes` are the server's; the bus is a double that counts, and subscribers take frames
and do nothing, so sockets are left out on both sides.
"""

import asyncio
import gc
import random
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import cast
from uuid import UUID

import numpy as np

from less_sync.storage import Invited, Space, SpaceNews, SpaceState, SpaceStore
from less_sync.sync.announce import Announcer, Change, Notice
from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Broker, Granted
from less_sync.sync.live.bus import Hear, Reconnected
from less_sync.sync.live.mailboxes import Mailboxes
from less_sync.sync.live.news import NODE_BYTES, Committed, Frame, encode_news
from less_sync.sync.live.nodes import Nodes
from less_sync.sync.live.presence import Presence
from less_sync.sync.protocol.codes import Close
from less_sync.sync.protocol.messages import PushChange
from less_sync.sync.protocol.notifications import sync_notification
from tests.bench.population import Population

BLOB: bytes = b"\xab" * 1024
NEWS_MAX = 5000
"""Own pushes, and those of others, that are played."""


@dataclass(eq=False, slots=True)
class Ear:
    """A subscriber without a socket."""

    connection_id: str = ""
    is_peer: bool = False
    delivered: int = 0

    def deliver(self, frame: bytes) -> None:
        self.delivered += 1

    def deliver_soon(self, frame: bytes) -> None:
        self.delivered += 1

    def overflow(self) -> None:
        raise AssertionError("nothing overflows here")

    def end(self, close: Close) -> None:
        raise AssertionError("nobody is ended here")


@dataclass
class CountingBus:
    """A bus that goes nowhere."""

    connected: bool = True
    subjects: dict[str, None] = field(default_factory=dict)
    published: int = 0
    hear: Hear | None = None

    def attach(self, hear: Hear, reconnected: Reconnected) -> None:
        self.hear = hear

    def publish(self, subject: str, message: bytes) -> None:
        self.published += 1

    def listen(self, subject: str) -> None:
        self.subjects[subject] = None

    def leave(self, subject: str) -> None:
        self.subjects.pop(subject, None)

    async def confirmed(self) -> bool:
        return True


class Rows:
    """A database that is never asked: nothing is lost here."""

    async def get_spaces(self, ids: Sequence[UUID]) -> dict[UUID, Space]:
        raise AssertionError

    async def compare(self, ids: Sequence[UUID]) -> dict[UUID, SpaceState]:
        raise AssertionError

    async def between(
        self, space: UUID, above: int, up_to: int, *, rows_max: int, bytes_max: int
    ) -> SpaceNews | None:
        raise AssertionError

    async def revoked_among(self, pairs: Sequence[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
        raise AssertionError

    async def invited_since(self, seconds: float, after: Invited | None = None) -> Sequence[Invited]:
        raise AssertionError


@dataclass(frozen=True, slots=True)
class Sample:
    """What was counted and measured at the node."""

    connections: int
    subscriptions: int
    interests: int
    """Spaces that it hears of on the bus."""
    subscription_bytes: float
    """Of each subscription."""
    own: int
    own_deliveries: int
    own_us: float
    """CPU of all of them."""
    heard: int
    heard_deliveries: int
    heard_us: float


class SampledNode:
    """The node with this number in a population."""

    def __init__(self, population: Population, number: int, *, seed: int = 1) -> None:
        mine = population.node == number
        self._pairs = list(
            zip(population.device[mine].tolist(), population.space[mine].tolist(), strict=True)
        )
        self._ears = {device: Ear() for device, _ in self._pairs}
        self._chance = random.Random(seed)
        spaces = population.space[mine]
        # How many subscribed connections of each space that is listened to here are at other nodes.
        here = np.bincount(spaces, minlength=int(population.space.max()) + 1)
        self._elsewhere = np.bincount(population.space) - here
        self.bus = CountingBus()
        limits, rows = Limits(), Rows()
        self.broker = Broker(lambda payload: payload)
        mailboxes = Mailboxes(limits, Random(1), frame=lambda payload: payload)
        self.announce = Announcer(self.broker, Presence(limits), mailboxes, cast(SpaceStore, rows))
        self.nodes = Nodes(self.bus, self.broker, self.announce, mailboxes, rows)
        self._cursors: dict[int, int] = {}

    async def run(self) -> Sample:
        """Subscribe everybody, then play pushes of this node and of others."""
        subscription_bytes = await self._subscribe()
        others = [space for _, space in self._pairs if self._elsewhere[space]]
        # Whoever is subscribed elsewhere pushes: a space is drawn as often as it has subscribers there.
        weights = [int(self._elsewhere[space]) for space in dict.fromkeys(others)]
        of_others = self._chance.choices(list(dict.fromkeys(others)), weights, k=NEWS_MAX)
        own = self._chance.choices(self._pairs, k=NEWS_MAX)
        own_deliveries, own_us = self._play_own(own)
        heard_deliveries, heard_us = self._play_others(of_others)
        return Sample(
            len(self._ears),
            len(self._pairs),
            len(self.nodes.interests),
            subscription_bytes,
            len(own),
            own_deliveries,
            own_us,
            len(of_others),
            heard_deliveries,
            heard_us,
        )

    async def _subscribe(self) -> float:
        """What a subscription keeps in memory; devices and their sessions were there before."""
        by_device: dict[int, list[int]] = {}
        for device, space in self._pairs:
            by_device.setdefault(device, []).append(space)
        gc.collect()
        tracemalloc.start()
        for device, spaces in by_device.items():
            asked = {_id(space): str(_id(space)) for space in spaces}
            provisional = self.broker.prepare(self._ears[device], asked)
            await self.nodes.listen(list(asked))
            granted = {space: Granted(0) for space in asked}
            behind = self.nodes.entering(granted)
            self.broker.confirm(provisional, granted, behind=behind)
            self.nodes.entered(granted)
        del provisional, asked, granted
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return kept / len(self._pairs)

    def _play_own(self, pushes: Sequence[tuple[int, int]]) -> tuple[int, float]:
        work = [(_id(space), self._pushed(space, self._ears[device])) for device, space in pushes]
        before, began = self.broker.delivered, time.process_time_ns()
        for space, change in work:
            self.announce.push_begun(space)
            self.announce.push_ended(space, change)
        return self._since(before, began)

    def _play_others(self, spaces: Sequence[int]) -> tuple[int, float]:
        other, messages = b"o" * NODE_BYTES, []
        for space in spaces:
            change = self._pushed(space, None)
            frames = tuple(Frame(notice.build(str(_id(space)))) for notice in change.notices)
            news = Committed(other, _id(space).bytes, change.cursor - 1, change.cursor, frames)
            messages.append(encode_news(news))
        hear = self.bus.hear
        assert hear is not None
        before, began = self.broker.delivered, time.process_time_ns()
        for message in messages:
            hear(message)
        return self._since(before, began)

    def _since(self, before: int, began_ns: int) -> tuple[int, float]:
        spent_us = (time.process_time_ns() - began_ns) / 1000
        return self.broker.delivered - before, spent_us

    def _pushed(self, space: int, author: Ear | None) -> Change:
        cursor = self._cursors[space] = self._cursors.get(space, 0) + 1
        record = str(UUID(int=self._chance.getrandbits(128)))

        def build(text: str) -> bytes:
            return sync_notification(
                text,
                cursor=cursor,
                key_generation=1,
                rewrap_epoch=None,
                changes=[PushChange(id=record, blob=BLOB, expected_cursor=0)],
            )

        return Change(cursor, (Notice(build, author),), len(BLOB))


def _id(space: int) -> UUID:
    """A new object each time, as each session makes its own of what it was asked for."""
    return UUID(int=space + 1)


def sample(population: Population, number: int = 0) -> Sample:
    """Run that node."""

    async def run() -> Sample:
        return await SampledNode(population, number).run()

    return asyncio.run(run())
