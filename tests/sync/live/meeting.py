"""Nodes that tell each other who is present, over a wire that the test breaks, in virtual time."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import cbor2

from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Build
from less_sync.sync.live.bus import SUBJECT_OF_NODES, subject_of
from less_sync.sync.live.elsewhere import PresenceElsewhere
from less_sync.sync.live.news import Alive, AnyNews, Committed, decode_news, encode_news
from less_sync.sync.live.presence import Presence
from tests.simulation.loop import SimulatedLoop

LIMITS: Final = Limits()
View = dict[str, bytes]
"""What a listener believes: pseudonyms and what they show."""


@dataclass(slots=True)
class Wire:
    """What becomes of messages. Each node's take their turn unless they are late."""

    loses: float = 0.0
    repeats: float = 0.0
    delays: float = 0.0
    delay_s: float = 3.0
    drop: Callable[[bytes, AnyNews], bool] = lambda to, news: False
    """Given whom it is for: whether this one is lost."""


class Room:
    """Nodes of a cluster on one simulated loop.

    Args:
        seed: decides what the wire does.
    """

    def __init__(self, seed: int = 0) -> None:
        self.wire = Wire()
        self.sent: Counter[type] = Counter()
        self.largest_bytes = 0
        self.chance = random.Random(seed)
        self.nodes: list[Node] = []
        self.faults: list[dict[str, Any]] = []
        self.loop = SimulatedLoop(
            random.Random(seed),
            callback_s_max=0.00001,
            steps_max=5_000_000,
            on_outside=lambda at_s, label: None,
            on_fault=self.faults.append,
        )

    def node(self, limits: Limits = LIMITS) -> "Node":
        """One more."""
        node = Node(self, bytes([len(self.nodes)]) * 8, limits)
        self.nodes.append(node)
        return node

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.run_for(seconds)
        assert self.faults == []

    def carry(self, sender: "Node", subject: str, news: AnyNews) -> None:
        """Take a message to all that listen."""
        self.sent[type(news)] += 1
        message = encode_news(news)
        self.largest_bytes = max(self.largest_bytes, len(message))
        for node in self.nodes:
            if node is sender or not node.up or self.wire.drop(node.id, news):
                continue
            for _ in range(1 + (self.chance.random() < self.wire.repeats)):
                if self.chance.random() < self.wire.loses:
                    continue
                late = self.chance.random() < self.wire.delays
                delay_s = self.chance.random() * self.wire.delay_s if late else 0.001
                self.loop.outside(delay_s, "message", lambda node=node: node.hear(subject, message))  # type: ignore[misc]  # mypy cannot type its default

    def close(self) -> None:
        """End every node's task."""
        for node in self.nodes:
            node.crash()
        self.loop.run_for(1.0)
        self.loop.close()


@dataclass(slots=True)
class Node:
    """One process, as far as presence goes."""

    room: Room
    id: bytes
    limits: Limits
    told: list[tuple[UUID, str, str, bytes]] = field(default_factory=list)
    """(space, method, peer, data) of what its listeners were told, in order."""
    up: bool = True
    presence: Presence = field(init=False)
    elsewhere: PresenceElsewhere = field(init=False)
    _task: "asyncio.Task[None]" = field(init=False)

    def __post_init__(self) -> None:
        loop = self.room.loop
        self.presence = Presence(self.limits, secret=self.id * 4, clock=loop.time)
        self.elsewhere = PresenceElsewhere(
            self.id,
            publish=self._publish,
            tell=self._tell,
            presence=self.presence,
            limits=self.limits,
            clock=loop.time,
            later=loop.call_later,
        )
        self.elsewhere.name = f"node {self.id[0]}"
        self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        pause_s = 0.0
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self.elsewhere.tick()

    def _publish(self, subject: str, news: AnyNews) -> None:
        if self.up:
            self.room.carry(self, subject, news)

    def _tell(self, space: UUID, build: Build) -> None:
        frame = cbor2.loads(build(str(space)))
        params = frame["params"]
        assert UUID(params["space"]) == space
        self.told.append((space, frame["method"], params["peer"], params.get("data", b"")))

    def hear(self, subject: str, message: bytes) -> None:
        """A message arrives."""
        news = decode_news(message)
        assert news is not None
        listens = subject == SUBJECT_OF_NODES or subject in map(subject_of, self.elsewhere.listened)
        if self.up and listens:
            assert not isinstance(news, Committed)
            self.elsewhere.hear(news)  # type: ignore[arg-type]  # only what concerns presence is sent here

    def crash(self) -> None:
        """Do nothing any more, without a word."""
        self.up = False
        self._task.cancel()

    def stop(self) -> None:
        """Stop as one should."""
        self.elsewhere.close()
        self.crash()

    # Clients.

    def show(self, space: UUID, who: str, data: bytes = b"here") -> str:
        """`presence.set` of a connection; its pseudonym, empty when it was refused."""
        peer = self.presence.set(space, who, data, elsewhere=self.elsewhere.count(space))
        if peer is not None:
            self.elsewhere.present(space, peer, data)
        return peer or ""

    def clear(self, space: UUID, who: str) -> None:
        """`presence.clear`."""
        peer = self.presence.clear(space, who)
        if peer is not None:
            self.elsewhere.left(space, peer)

    def hang_up(self, who: str) -> None:
        """A connection ends."""
        for space, peer in self.presence.drop(who):
            self.elsewhere.left(space, peer)

    def sweep(self) -> None:
        """As the background does, in full."""
        for space, peer in self.presence.sweep():
            self.elsewhere.left(space, peer)

    def news(self, space: UUID) -> list[tuple[str, str, bytes]]:
        """What was told about a space since it was last asked for."""
        found = [(method, peer, data) for at, method, peer, data in self.told if at == space]
        self.told = [one for one in self.told if one[0] != space]
        return found

    def others(self, space: UUID) -> View:
        """Who is known to be there at other nodes."""
        return {entry.peer: entry.data for entry in self.elsewhere.others(space)}

    def own(self, space: UUID) -> View:
        """Who is there at this one."""
        return {entry.peer: entry.data for entry in self.presence.everybody(space)}


def follow(view: View, told: list[tuple[str, str, bytes]]) -> View:
    """What a listener believes who was told this."""
    view = dict(view)
    for method, peer, data in told:
        if method == "presence":
            view[peer] = data
        elif method == "presence.leave":
            assert peer in view, "nobody leaves whom nobody knew"
            del view[peer]
    return view


def signs(room: Room) -> int:
    """How many signs of life were sent."""
    return room.sent[Alive]
