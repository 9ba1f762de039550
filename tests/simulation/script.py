"""What a seed decides before a run begins: who comes, with which limits, and what goes wrong and when."""

import random
from dataclasses import dataclass, field, replace
from typing import Final

from tests.simulation.actor import ACTIONS, Temper
from tests.simulation.cast import GUESTS, OWNER
from tests.simulation.database import Weather
from tests.simulation.line import Pace
from tests.simulation.system import Limits

EVENTS: Final = (
    "lock",
    "lock",
    "lose",
    "outage",
    "clock",
    "elsewhere",
    "elsewhere",
    "file",
    "drop",
    "vanish",
    "vanish",
)
NEVER_S: Final = 1e9


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens at a time: a name of `EVENTS`, and how long it lasts or how far it goes."""

    at_s: float
    name: str
    amount: float


@dataclass(frozen=True, slots=True)
class Drain:
    """An operator drains the server, and takes it back."""

    at_s: float
    for_s: float


@dataclass(frozen=True, slots=True)
class Script:
    """Everything about a run that is known before it."""

    limits: Limits
    weather: Weather
    tempers: list[tuple[str, Temper]]
    weights: dict[str, int]
    events: list[Event] = field(default_factory=list)
    callback_s_max: float = 0.0001
    play_s: float = 60.0
    enforce_token_expiry: bool = False
    shutdown_at_s: float = NEVER_S
    drains: list[Drain] = field(default_factory=list)
    drain_spread_s: float = 0.2
    keys_s: float = 0.0
    """How long the keys of tokens take to come."""
    lane_entries: int = 2048
    """Pushes that may be queued before their authors have to wait."""
    pool_connections: int = 6


def write_script(chance: random.Random) -> Script:
    """Draw a script. Most runs have few kinds of trouble, so that each meets the others rarely and deeply."""
    calm = chance.random() < 0.4
    play_s = chance.choice((2.0, 10.0, 60.0))
    return Script(
        limits=_limits(chance),
        weather=Weather(latency_s=chance.choice((0.0, 0.0005, 0.003))) if calm else _weather(chance),
        tempers=_tempers(chance),
        weights=_weights(chance),
        events=[] if calm else _events(chance, play_s),
        callback_s_max=chance.choice((0.00002, 0.0001, 0.0005)),
        play_s=play_s,
        shutdown_at_s=chance.uniform(0.05, 2.0) if chance.random() < 0.08 else NEVER_S,
        keys_s=chance.choice((0.0, 0.0, 0.003, 1.0)),
        lane_entries=chance.choice((2048, 2048, 4)),
        pool_connections=chance.choice((6, 6, 2)),
    )


def with_drains(script: Script, chance: random.Random) -> Script:
    """The same, in one run of five with draining. Drawn apart, so that the other runs stay what they are.

    Some are taken back before all sessions are closed, some overlap, and some meet a shutdown.
    """
    if chance.random() >= 0.2:
        return script
    until_s = min(script.play_s, 3.0)
    drains = [
        Drain(chance.uniform(0.02, until_s), chance.choice((0.0, 0.05, 0.5, 3.0)) * chance.random())
        for _ in range(chance.choice((1, 1, 3)))
    ]
    return replace(script, drains=drains, drain_spread_s=chance.choice((0.0, 0.2, 2.0)))


def _limits(chance: random.Random) -> Limits:
    pick = chance.choice
    short_lived = chance.random() < 0.3
    return Limits(
        connections_per_mailbox=16,
        lifetime_s=pick((0.2, 0.7, 3.0)) if short_lived else 3600.0,
        queue_frames=pick((64, 64, 4)),
        backlog_frames=pick((64, 8)),
        pushes_in_flight=pick((64, 4)),
        pulls_waiting=pick((8, 1)),
        invitations_per_window=pick((10, 1000)),
        membership_appends_per_window=pick((10, 1000)),
        presence_per_space=pick((100, 2)),
        presence_answer_bytes=pick((3_670_016, 64)),
    )


def _weather(chance: random.Random) -> Weather:
    def maybe(likelihood: float) -> float:
        return likelihood if chance.random() < 0.3 else 0.0

    return Weather(
        latency_s=chance.choice((0.0, 0.0005, 0.003, 0.02)),
        slow=maybe(0.1),
        slow_s=chance.choice((0.05, 1.0, 12.0)),
        lost_before=maybe(0.02),
        lost_after=maybe(0.02),
        refused=maybe(0.02),
        hangs=maybe(0.01),
        unknown_status=maybe(0.03),
        cancel_wins=chance.choice((0.0, 0.5, 1.0)),
        store_fails=maybe(0.05),
    )


def _tempers(chance: random.Random) -> list[tuple[str, Temper]]:
    names = [OWNER, *GUESTS, *chance.choices((OWNER, *GUESTS), k=chance.choice((0, 1, 2)))]
    return [(name, _temper(chance)) for name in names]


def _temper(chance: random.Random) -> Temper:
    pick = chance.choice
    slow = chance.random() < 0.2
    pace = Pace(
        latency_s=pick((0.0, 0.0, 0.0005, 0.003)),
        kernel_bytes=512 if slow else 16 * 1024,
        read_bytes=512 if slow else 1 << 20,
        read_s=pick((0.01, 0.5, 30.0)) if slow else 0.0,
        cut=pick((0.0, 0.0, 0.2)),
    )
    return Temper(
        pace=pace,
        at_once=pick((1, 1, 1, 2, 2, 6, 6, 40)),
        think_s=pick((0.0, 0.0, 0.003, 0.2)),
        drop=pick((0.0, 0.0, 0.3)),
        drop_s=pick((0.0, 0.002, 0.007)),
        requests_max=pick((10, 20, 30)),
        big=pick((0.0, 0.0, 0.0, 0.1)),
        heavy=pick((0.0, 0.0, 0.0, 0.0, 0.0, 0.1)),
    )


def _weights(chance: random.Random) -> dict[str, int]:
    weights = {name: chance.choice((0, 1, 1, 4)) for name in ACTIONS}
    weights["push"] += 1
    return weights


def _events(chance: random.Random, play_s: float) -> list[Event]:
    count = chance.choice((0, 1, 3, 6))
    return [
        Event(chance.random() * min(play_s, 3.0), chance.choice(EVENTS), chance.random())
        for _ in range(count)
    ]
