"""What a seed decides about two servers before they start: who comes where, and what goes wrong and when."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import cbor2

from tests.simulation.actor import Temper
from tests.simulation.cast import GUESTS, NEIGHBOURS, OWNER, SHARED
from tests.simulation.federation.servers import EDGE, HOME
from tests.simulation.federation.system import PeerQuotas
from tests.simulation.federation.wire import Fault, Trouble
from tests.simulation.frames import message
from tests.simulation.line import Pace
from tests.simulation.script import Event
from tests.simulation.system import Limits

EVENTS: Final = (
    "cut",
    "cut",
    "part",
    "part",
    "restart home",
    "restart edge",
    "clock of the edge",
    "clock of the home",
    "another key",
    "unknown key",
    "another secret",
    "lock",
    "drop",
    "drop",
)
DARK_S_MAX: Final = 930.0
"""How long kernels try to reach somebody who is gone: Linux' 15 sendings of one segment."""


@dataclass(frozen=True, slots=True)
class FederatedScript:
    """Everything about a run that is known before it."""

    members: list[tuple[str, str, Temper]]
    """Server, person and temper of each."""
    weights: dict[str, int]
    limits: Limits
    quotas: PeerQuotas
    secret: str | None
    latency_s: float
    cut: float
    faults: float
    """How likely something happens to a connection between the servers."""
    troubles: tuple[Trouble, ...]
    frames_max: int
    events: list[Event]
    database_s: float
    callback_s_max: float
    play_s: float

    @property
    def untroubled(self) -> bool:
        """Nothing goes wrong between the servers."""
        return not self.faults and not self.events and self.limits.lifetime_s >= 3600.0


def write_script(chance: random.Random) -> FederatedScript:
    """Draw a script. Some runs have no trouble at all, most have few kinds of it."""
    pick = chance.choice
    untroubled = chance.random() < 0.15
    play_s = pick((3.0, 20.0, 60.0))
    return FederatedScript(
        members=_members(chance),
        weights=_weights(chance),
        limits=Limits(
            connections_per_mailbox=16,
            lifetime_s=pick((6.0, 30.0)) if not untroubled and chance.random() < 0.2 else 3600.0,
            queue_frames=pick((64, 64, 8)),
            membership_appends_per_window=1000,
        ),
        quotas=PeerQuotas(connections=pick((1, 3, 3, 8))),
        secret=pick(("first secret", "first secret", "first secret", None)),
        latency_s=pick((0.0005, 0.005, 0.05, 0.3)),
        cut=pick((0.0, 0.2)),
        faults=0.0 if untroubled else pick((0.0, 0.3, 0.9)),
        troubles=tuple(chance.sample(tuple(Trouble), k=pick((1, 2, 4)))),
        frames_max=pick((4, 12, 40)),
        events=[] if untroubled else _events(chance, play_s),
        database_s=pick((0.0, 0.0005, 0.003)),
        callback_s_max=pick((0.00002, 0.0001)),
        play_s=play_s,
    )


def with_drains(script: FederatedScript, chance: random.Random) -> FederatedScript:
    """The same, in one run of five with draining. Drawn apart, so that the other runs stay what they are."""
    if chance.random() >= 0.2:
        return script
    drains = [
        Event(
            chance.random() * script.play_s * 0.8,
            chance.choice(("drain home", "drain edge")),
            chance.random(),
        )
        for _ in range(chance.choice((1, 3)))
    ]
    return replace(script, events=[*script.events, *drains])


def _members(chance: random.Random) -> list[tuple[str, str, Temper]]:
    at_edge = [*GUESTS, *chance.choices((*GUESTS, OWNER), k=chance.choice((0, 1, 2)))]
    at_home = [OWNER, *chance.choices(GUESTS, k=chance.choice((0, 1)))]
    members = [(EDGE, name, _temper(chance)) for name in at_edge]
    members += [(HOME, name, _temper(chance)) for name in at_home]
    quick = Temper(Pace(latency_s=0.0005, cut=0.0), at_once=1, think_s=3.0, requests_max=15)
    return members + [(server, name, quick) for server, name in zip((HOME, EDGE), NEIGHBOURS, strict=True)]


def _temper(chance: random.Random) -> Temper:
    pick = chance.choice
    slow = chance.random() < 0.1
    return Temper(
        pace=Pace(
            latency_s=pick((0.0, 0.0005, 0.003)),
            kernel_bytes=512 if slow else 16 * 1024,
            read_bytes=512 if slow else 1 << 20,
            read_s=pick((0.01, 0.5)) if slow else 0.0,
            cut=pick((0.0, 0.2)),
        ),
        at_once=pick((1, 1, 2, 6)),
        think_s=pick((0.0, 0.05, 1.0, 5.0)),
        drop=pick((0.0, 0.0, 0.2)),
        drop_s=pick((0.0, 0.01, 0.3)),
        requests_max=pick((8, 15, 25)),
        big=pick((0.0, 0.0, 0.1)),
    )


def _weights(chance: random.Random) -> dict[str, int]:
    names = ("push", "pull", "deks", "append", "members", "revoke", "presence", "resubscribe", "unsubscribe")
    weights = {name: chance.choice((0, 1, 1, 3)) for name in names}
    weights["push"] += 3
    return weights


def _events(chance: random.Random, play_s: float) -> list[Event]:
    count = chance.choice((0, 1, 2, 4))
    return [
        Event(chance.random() * play_s * 0.8, chance.choice(EVENTS), chance.random()) for _ in range(count)
    ]


# What strikes a connection.


def draw_fault(chance: random.Random, script: FederatedScript) -> Fault | None:
    """What happens to the next connection, if anything."""
    if chance.random() >= script.faults:
        return None
    trouble = chance.choice(script.troubles)
    fault = Fault(
        trouble,
        to_home=chance.random() < 0.5,
        frames=chance.randrange(-1, script.frames_max),
        inside=chance.choice((0.0, 0.0, chance.random())),
        seconds=chance.choice((1.0, 15.0, 60.0)) if trouble is Trouble.STALL else _dark_s(chance),
    )
    if trouble is not Trouble.GARBAGE:
        return fault
    garbage = TO_HOME if fault.to_home else TO_EDGE
    return replace(fault, frames=max(0, fault.frames), inside=0.0, garbage=chance.choice(garbage)())


def _dark_s(chance: random.Random) -> float:
    return chance.choice((5.0, 60.0, DARK_S_MAX))


def _notice(method: str, **params: Any) -> bytes:
    return cbor2.dumps({"type": 2, "method": method, "params": params})


FORGED: Final[dict[str, Any]] = {"prev": 8999, "cursor": 9000, "key_generation": 0, "records": []}
"""Of a `sync` that nobody sent."""
NOWHERE: Final = "5a5a5a5a-0000-4000-8000-00000000ffff"


def _framed(payload: bytes, first: int = 0x82) -> bytes:
    """A frame of a server."""
    head = bytes((first, len(payload))) if len(payload) < 126 else bytes((first, 126)) + _u16(len(payload))
    return head + payload


def _u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


TO_HOME: Final[tuple[Callable[[], bytes], ...]] = (
    lambda: message(b"\xff\xff"),
    lambda: message(b""),
    lambda: message(_notice("sync", space=str(SHARED), **FORGED)),
    lambda: message(_notice("revoked", space=str(SHARED), reason="ucan_revoked")),
    lambda: message(_notice("unsubscribe", spaces="all of them")),
    lambda: message(cbor2.dumps({"type": 0, "id": "x", "method": "membership.revoke", "params": {}})),
    lambda: message(cbor2.dumps({"type": 0, "id": "x", "method": "push", "params": {"space": 7}})),
    lambda: b"\x81\x84" + bytes(4) + b"text",
    lambda: b"\x82\x01x",  # not masked
    lambda: b"\x83\x80" + bytes(4),  # no such opcode
)
"""What a broken server sends to a home."""
TO_EDGE: Final[tuple[Callable[[], bytes], ...]] = (
    lambda: _framed(b"\xff\xff"),
    lambda: _framed(b""),
    lambda: _framed(b"text", 0x81),
    lambda: _framed(cbor2.dumps({"type": 1, "id": "nobody", "result": {"ok": True, "cursor": 9000}})),
    lambda: _framed(cbor2.dumps({"type": 3, "id": "nobody", "name": "pull.record", "data": {}})),
    lambda: _framed(_notice("sync", space=str(SHARED), records=7)),
    lambda: _framed(_notice("sync", space=NOWHERE, **FORGED)),
    lambda: _framed(_notice("presence", space=str(SHARED), peer="x", data=b"")),
    lambda: _framed(b"", 0x83),
    lambda: b"\x82\x81" + bytes(4) + b"x",  # masked
)
"""What a broken server sends to an edge. A home that lies about its own space is believed."""
