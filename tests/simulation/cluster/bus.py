"""A bus between nodes that may lose, repeat and reorder what it carries, and be away for all or for one.

Each connection keeps the order of what is sent over it, unless a message is held up; what is subscribed to
takes as long to arrive as a message. A connection that is parted says nothing: what is sent meanwhile is
lost, and only after a while is it noticed that nobody is there.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.simulation.cluster.system import CONFIRM_S_MAX, Hear, Reconnected
from tests.simulation.line import Schedule


@dataclass(frozen=True, slots=True)
class BusWeather:
    """How likely what goes wrong is, for each message and receiver."""

    latency_s: float = 0.0005
    loses: float = 0.0
    repeats: float = 0.0
    delays: float = 0.0
    delay_s: float = 0.02
    """How long a message is held up at most, so that others overtake it."""
    noticed_s: float = 0.0
    """How long it takes at most until a node knows that it is parted."""
    back_s: float = 0.1
    """And until it is connected again once the way is free."""

    @property
    def faultless(self) -> bool:
        """What is sent arrives, once and in order, as long as the connection lasts."""
        return not (self.loses or self.repeats or self.delays)


class Hub:
    """The servers of the bus, which all nodes are connected to."""

    def __init__(self, schedule: Schedule, clock: Callable[[], float], chance: random.Random) -> None:
        self.schedule = schedule
        self.clock = clock
        self.chance = chance
        self.weather = BusWeather()
        self.ends: dict[SimulatedBus, None] = {}
        self.away = False
        """None of it runs."""

    def carry(self, sender: "SimulatedBus", subject: str, message: bytes) -> None:
        """Take a message to everybody else who is known to listen: called when it has arrived here."""
        chance, weather = self.chance.random, self.weather
        for end in self.ends:
            if end is sender or not end.is_heard(subject):
                continue
            for _ in range(1 + (chance() < weather.repeats)):
                if chance() < weather.loses:
                    continue
                at_s = end.arrival_s(chance() * weather.latency_s)
                if chance() < weather.delays:
                    at_s += chance() * weather.delay_s
                self._deliver(end, end.life, subject, message, at_s)

    def _deliver(self, end: "SimulatedBus", life: int, subject: str, message: bytes, at_s: float) -> None:
        def arrive() -> None:
            if end.life == life and not self.is_cut(end):
                end.take(subject, message)

        self.schedule(max(0.0, at_s - self.clock()), "news", arrive)

    def is_cut(self, end: "SimulatedBus") -> bool:
        """Whether nothing passes to and from this node."""
        return self.away or end.parted or end not in self.ends

    def part(self, end: "SimulatedBus", seconds: float) -> None:
        """Cut one node off for a while."""
        end.parted = True
        end.lose_sight(self.chance.random() * self.weather.noticed_s)

        def heal() -> None:
            end.parted = False
            end.come_back(self.chance.random() * self.weather.back_s)

        self.schedule(seconds, "bus healed", heal)

    def stop(self, seconds: float, *, silently: bool) -> None:
        """Be away for a while: killed, so that every connection is reset, or silently."""
        self.away = True
        for end in self.ends:
            end.lose_sight(self.chance.random() * self.weather.noticed_s if silently else 0.0)

        def start() -> None:
            self.away = False
            for end in list(self.ends):
                end.come_back(self.chance.random() * self.weather.back_s)

        self.schedule(seconds, "bus back", start)


class SimulatedBus:
    """One node's connection: what the server knows as `Bus`."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._hear: Hear = lambda message: None
        self._reconnected: Reconnected = lambda: None
        self._wanted: dict[str, None] = {}
        self._heard: set[str] = set()
        self._sent_s = 0.0
        """When what was sent to the bus last arrives there."""
        self._arrival_s = 0.0
        """And when what comes from there."""
        self._pongs: list[asyncio.Future[None]] = []
        self.parted = False
        self.life = 0
        """How many connections there were: what was under way on an older one is lost."""
        self.is_open = True
        hub.ends[self] = None

    # What the server asks.

    @property
    def connected(self) -> bool:
        """As far as this node knows."""
        return self.is_open

    def attach(self, hear: Hear, reconnected: Reconnected) -> None:
        """Say who takes what comes."""
        self._hear, self._reconnected = hear, reconnected

    def publish(self, subject: str, message: bytes) -> None:
        """Send to whoever listens."""
        if self.is_open:
            self._tell_hub(lambda: self._hub.carry(self, subject, message))

    def listen(self, subject: str) -> None:
        """Hear of a subject, once the bus knows."""
        if subject not in self._wanted:
            self._wanted[subject] = None
            self._tell_hub(lambda: self._subscribe(subject))

    def leave(self, subject: str) -> None:
        """Hear of it no more."""
        self._wanted.pop(subject, None)
        self._heard.discard(subject)

    async def confirmed(self) -> bool:
        """Wait until all that was told to the bus has arrived there, and for as long as its answer takes."""
        if not self.is_open:
            return False
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self._tell_hub(lambda: self._hub.schedule(self._latency(), "pong", lambda: _settle(pong)))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(CONFIRM_S_MAX):
                    await pong
                    return True
            return False
        finally:
            self._pongs.remove(pong)

    # What happens to it.

    def is_heard(self, subject: str) -> bool:
        """Whether the bus knows that this node listens."""
        return subject in self._heard

    def arrival_s(self, latency_s: float) -> float:
        """When what the bus sends now arrives: not before what it sent before."""
        self._arrival_s = max(self._hub.clock() + latency_s, self._arrival_s)
        return self._arrival_s

    def take(self, subject: str, message: bytes) -> None:
        """A message arrives."""
        if subject in self._wanted:
            self._hear(message)

    def lose_sight(self, noticed_s: float) -> None:
        """The connection is no more, which is noticed after a while."""
        life = self.life

        def notice() -> None:
            if self.life == life and self._hub.is_cut(self):
                self._drop()

        self._hub.schedule(noticed_s, "bus lost", notice)

    def _drop(self) -> None:
        self.is_open = False
        self.life += 1
        self._heard.clear()
        for pong in self._pongs:
            if not pong.done():
                pong.set_exception(TimeoutError())

    def come_back(self, seconds: float) -> None:
        """The way is free. The bus knows nothing of a connection that ended while nobody noticed."""
        if self.is_open and not self._hub.is_cut(self):
            self._drop()

        def connect() -> None:
            if self.is_open or self._hub.is_cut(self):
                return
            self.is_open = True
            for subject in self._wanted:
                self._tell_hub(lambda subject=subject: self._subscribe(subject))  # type: ignore[misc]  # mypy cannot type its default
            self._reconnected()

        self._hub.schedule(seconds, "bus connected", connect)

    def close(self) -> None:
        """The node is no more."""
        self._hub.ends.pop(self, None)
        self._drop()

    def _latency(self) -> float:
        return self._hub.chance.random() * self._hub.weather.latency_s

    def _tell_hub(self, tell: Callable[[], None]) -> None:
        """Let something happen at the bus when what is sent now has arrived there."""
        hub, life = self._hub, self.life
        self._sent_s = max(self._sent_s, hub.clock() + self._latency())

        def arrive() -> None:
            if self.life == life and self.is_open and not hub.is_cut(self):
                tell()

        hub.schedule(max(0.0, self._sent_s - hub.clock()), "to the bus", arrive)

    def _subscribe(self, subject: str) -> None:
        if subject in self._wanted:
            self._heard.add(subject)


def _settle(pong: "asyncio.Future[None]") -> None:
    if not pong.done():
        pong.set_result(None)
