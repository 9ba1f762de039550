"""What a seed decides about a cluster before it starts: who comes where, and what goes wrong and when."""

import random
from dataclasses import dataclass
from typing import Final

from tests.simulation.actor import Temper
from tests.simulation.cast import GUESTS, OWNER
from tests.simulation.cluster.bus import BusWeather
from tests.simulation.database import Weather
from tests.simulation.line import Pace
from tests.simulation.script import Event
from tests.simulation.system import Limits

BUS_EVENTS: Final = ("part", "part", "bus away", "bus silent", "crash", "restart", "drop", "drop")
"""After which everything stored arrives in time all the same."""
OTHER_EVENTS: Final = ("lock", "lose", "outage", "elsewhere")
COMPARED_S: Final = 5.0
"""Within which everything stored is heard of, whatever becomes of the bus."""
PROMPT_S: Final = 0.25
"""And over a bus without faults: more than waiting for a gap and reading it takes; beside both its ways."""
REVOKED_S: Final = 0.1
"""And a revocation over such a bus."""


@dataclass(frozen=True, slots=True)
class ClusterScript:
    """Everything about a run that is known before it."""

    nodes: int
    members: list[tuple[int | None, str, Temper]]
    """Node, person and temper of each; without a node it comes to whichever it finds."""
    weights: dict[str, int]
    limits: Limits
    bus: BusWeather
    database: Weather
    events: list[Event]
    callback_s_max: float
    play_s: float
    arrive_s: float
    """When the last member comes, at most."""
    quiet_s: float
    """How long the bus stays as it is when nobody does anything any more."""
    is_timed: bool
    """The database has no faults, clients read at once: what is stored has its time."""

    @property
    def heard_s(self) -> float | None:
        """Within which time what was committed is heard of by all who listen; None: some time."""
        if not self.is_timed:
            return None
        if self.events or not self.bus.faultless:
            return COMPARED_S
        return prompt_s(self.bus)

    @property
    def revoked_s(self) -> float | None:
        """Within which time whose access was revoked hears nothing any more, at every node."""
        if self.heard_s is None or self.heard_s == COMPARED_S:
            return self.heard_s
        return REVOKED_S + 2 * self.bus.latency_s


def prompt_s(bus: BusWeather) -> float:
    """Within which time what is stored is heard of over a bus without faults."""
    return PROMPT_S + 2 * bus.latency_s


def write_script(chance: random.Random) -> ClusterScript:
    """Draw a script. Half of the runs have a faultless database, and some of them a faultless bus too."""
    pick = chance.choice
    is_timed = chance.random() < 0.6
    calm = chance.random() < 0.25
    play_s = pick((2.0, 10.0, 40.0))
    return ClusterScript(
        nodes=pick((2, 2, 3)),
        members=_members(chance, is_timed=is_timed),
        weights=_weights(chance),
        limits=Limits(
            connections_per_mailbox=16,
            lifetime_s=pick((3.0, 15.0)) if chance.random() < 0.2 else 3600.0,
            queue_frames=64 if is_timed else pick((64, 8)),
            membership_appends_per_window=1000,
            invitations_per_window=1000,
            presence_answer_bytes=pick((3_670_016, 64)),
        ),
        bus=BusWeather(latency_s=pick((0.0001, 0.002, 0.03, 0.08))) if calm else _bus(chance),
        database=Weather(latency_s=pick((0.0, 0.0005, 0.003))) if is_timed else _database(chance),
        events=[] if calm else _events(chance, play_s, BUS_EVENTS if is_timed else BUS_EVENTS + OTHER_EVENTS),
        callback_s_max=pick((0.00002, 0.0001)),
        play_s=play_s,
        quiet_s=pick((0.0, 60.0)),
        arrive_s=pick((0.05, 1.0, 1.0)),
        is_timed=is_timed,
    )


def _members(chance: random.Random, *, is_timed: bool) -> list[tuple[int | None, str, Temper]]:
    names = [OWNER, OWNER, *GUESTS, *chance.choices((OWNER, *GUESTS), k=chance.choice((0, 2)))]
    return [
        (chance.choice((0, 1, None)), name, _temper(chance, slow=not is_timed and chance.random() < 0.15))
        for name in names
    ]


def _temper(chance: random.Random, *, slow: bool) -> Temper:
    pick = chance.choice
    return Temper(
        pace=Pace(
            latency_s=pick((0.0, 0.0005, 0.003)),
            kernel_bytes=512 if slow else 1 << 20,
            read_bytes=512 if slow else 1 << 20,
            read_s=pick((0.01, 0.5)) if slow else 0.0,
            cut=pick((0.0, 0.2)),
        ),
        at_once=pick((1, 1, 2, 6)),
        think_s=pick((0.0, 0.003, 0.2, 2.0)),
        drop=pick((0.0, 0.0, 0.2)),
        drop_s=pick((0.0, 0.002, 0.01)),
        requests_max=pick((8, 15, 25)),
    )


def _weights(chance: random.Random) -> dict[str, int]:
    names = ("push", "pull", "append", "revoke", "presence", "invite", "resubscribe", "unsubscribe", "epoch")
    weights = {name: chance.choice((0, 1, 1, 3)) for name in names}
    weights["push"] += 3
    weights["presence"] *= chance.choice((1, 3))
    return weights


def _bus(chance: random.Random) -> BusWeather:
    def maybe(*likelihoods: float) -> float:
        return chance.choice(likelihoods) if chance.random() < 0.5 else 0.0

    return BusWeather(
        latency_s=chance.choice((0.0001, 0.002, 0.03)),
        loses=maybe(0.05, 0.3, 0.3, 1.0),
        repeats=maybe(0.1, 0.5),
        delays=maybe(0.1, 0.5),
        delay_s=chance.choice((0.02, 0.1, 3.0)),
        noticed_s=chance.choice((0.0, 1.0, 6.0)),
        back_s=chance.choice((0.1, 2.0)),
    )


def _database(chance: random.Random) -> Weather:
    def maybe(likelihood: float) -> float:
        return likelihood if chance.random() < 0.3 else 0.0

    return Weather(
        latency_s=chance.choice((0.0005, 0.003, 0.02)),
        slow=maybe(0.1),
        slow_s=chance.choice((0.05, 1.0, 12.0)),
        lost_before=maybe(0.02),
        lost_after=maybe(0.02),
        refused=maybe(0.02),
        hangs=maybe(0.01),
        cancel_wins=chance.choice((0.0, 0.5, 1.0)),
    )


def _events(chance: random.Random, play_s: float, names: tuple[str, ...]) -> list[Event]:
    count = chance.choice((0, 1, 2, 4))
    return [
        Event(chance.random() * play_s * 0.8, chance.choice(names), chance.random()) for _ in range(count)
    ]
