"""A bus between nodes of one process that does what a real one may: it loses, repeats and reorders.

What it does is drawn from the hub's own random numbers, so a run can be repeated with its seed.
"""

import asyncio
from dataclasses import dataclass, field
from random import Random

from less_sync.sync.live.bus import Hear, Reconnected


@dataclass
class Hub:
    """What the buses of one cluster are connected to."""

    chance: Random = field(default_factory=lambda: Random(1))
    loses: float = 0.0
    """The part of all deliveries that never come."""
    repeats: float = 0.0
    """The part that comes twice."""
    delay_s: float = 0.0
    """The longest that one takes; beyond 0 they overtake each other."""
    buses: "list[LossyBus]" = field(default_factory=list)
    published: int = 0
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    """Everything that was published, if `keeps`."""
    keeps: bool = False

    def bus(self) -> "LossyBus":
        """One more node's connection."""
        bus = LossyBus(self)
        self.buses.append(bus)
        return bus

    def carry(self, origin: "LossyBus", subject: str, message: bytes) -> None:
        """Deliver to whoever listens now, but for the sender; a turn later at the earliest."""
        self.published += 1
        if self.keeps:
            self.sent.append((subject, message))
        for bus in self.buses:
            if bus is origin or not bus.connected or subject not in bus.subjects:
                continue
            if self.chance.random() < self.loses:
                continue
            for _ in range(2 if self.chance.random() < self.repeats else 1):
                loop = asyncio.get_running_loop()
                loop.call_later(self.chance.uniform(0, self.delay_s), bus.take, subject, message)


@dataclass(eq=False)
class LossyBus:
    """One node's connection, as `Bus` describes it."""

    hub: Hub
    connected: bool = True
    is_slow: bool = False
    """Connected, and never says that it listens."""
    subjects: dict[str, None] = field(default_factory=dict)
    confirmations: int = 0
    _hear: Hear | None = None
    _reconnected: Reconnected | None = None

    def attach(self, hear: Hear, reconnected: Reconnected) -> None:
        assert self._hear is None
        assert not self.subjects
        self._hear, self._reconnected = hear, reconnected

    def publish(self, subject: str, message: bytes) -> None:
        if self.connected:
            self.hub.carry(self, subject, message)

    def listen(self, subject: str) -> None:
        self.subjects[subject] = None

    def leave(self, subject: str) -> None:
        self.subjects.pop(subject, None)

    async def confirmed(self) -> bool:
        self.confirmations += 1
        await asyncio.sleep(0)
        return self.connected and not self.is_slow

    def take(self, subject: str, message: bytes) -> None:
        """Hear one message, if this bus is still there and listens still."""
        if self.connected and subject in self.subjects and self._hear is not None:
            self._hear(message)

    def cut(self) -> None:
        """Lose the connection, and everything that is on its way."""
        self.connected = False

    def mend(self) -> None:
        """Have it again."""
        self.connected = True
        if self._reconnected is not None:
            self._reconnected()
