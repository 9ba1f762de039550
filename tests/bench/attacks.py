"""What a server under attack holds in memory, and how long everybody else waits meanwhile.

Each attack meets a server just started. The attackers are a process of their own (`attackers.py`); the load
generator plays the others: it pushes a record and pulls a small space, by the clock.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from tests.bench import usage
from tests.bench.model import KIB, Bench, Pair, Pairs, Row, Use

MIB: Final = KIB * KIB
WARM_UP: Final = 64
WARM_UP_PUSHES: Final = 20
SMALL_SPACE_RECORDS: Final = 10
TINY_ITEM_FRAMES: Final = 8
PERMITTED_MAPS: Final = 262_000
"""Nearly as many as a frame may have: the bound is 786,432 items, and a map counts for three."""
MAPS_OF_4_MIB: Final = 4_193_900
HUGE_PUSH_RECORDS: Final = 40_000
HUGE_PUSH_CONNECTIONS: Final = 8
STALLED_CONNECTIONS: Final = 18
"""Of two people, who may have sixteen each."""
STALLED_SPACE_BYTES: Final = KIB
WAIT_FACTOR: Final = 3
WAIT_MS: Final = 150
"""During an attack others may wait `WAIT_FACTOR` times as long as before, or so long if that is more."""

Times = Mapping[str, Sequence[float]]


async def strangers(bench: Bench) -> Pairs:
    """Memory that those who never authenticate can take."""
    scale, use = bench.scale, Use()
    async with bench.fresh_server() as fresh:
        await _warm_up(fresh)
        await fresh.attackers("target", port=fresh.server.port)
        idle = _reset_peak(fresh)
        async with fresh.using(use):
            await fresh.attackers("strangers", count=scale.strangers, seconds=scale.attack_s)
        grown = usage.growth_bytes(fresh.server.pid, idle) / MIB
    return {"strangers": Pair(None, grown, grown, use)}


async def tiny_items(bench: Bench) -> Pairs:
    """Memory, and the longest wait of others, while one connection sends frames full of tiny items.

    Two servers: one meets frames that are nothing but empty maps, the other frames with as many as may be.
    """
    grown, waits, use = [], [], Use()
    for maps in (MAPS_OF_4_MIB, PERMITTED_MAPS):
        async with bench.fresh_server() as fresh:
            await _warm_up(fresh)
            tokens = await _prepare(fresh, "prepare_items", 1, maps=maps, frames=TINY_ITEM_FRAMES)
            spaces = await _open_others(fresh)
            idle = _reset_peak(fresh)
            async with fresh.using(use):
                during = await _beside(fresh, spaces, "send_prepared", tokens=tokens)
            grown.append(usage.growth_bytes(fresh.server.pid, idle) / MIB)
            waits.append(max(*during["push"], *during["pull"]) * 1e3)
    return {
        "tiny items memory": Pair(None, max(grown), max(grown), use),
        "tiny items wait": Pair(None, max(waits), max(waits), use),
    }


async def huge_pushes(bench: Bench) -> Pairs:
    """The waits of others while one person pushes very many records, over and over."""
    scale, use = bench.scale, Use()
    async with bench.fresh_server() as fresh:
        await _warm_up(fresh)
        shape = {"pushes": scale.huge_pushes, "records": HUGE_PUSH_RECORDS}
        tokens = await _prepare(fresh, "prepare_pushes", HUGE_PUSH_CONNECTIONS, **shape)
        spaces = await _open_others(fresh)
        before = await _probe(fresh, spaces)
        async with fresh.using(use):
            during = await _beside(fresh, spaces, "send_prepared", tokens=tokens)
    return _waits("huge pushes", before, during, use)


@dataclass(frozen=True, slots=True)
class StalledPulls:
    """The waits of others while two people pull their large spaces and read nothing."""

    spaces: Sequence[str]

    async def __call__(self, bench: Bench) -> Pairs:
        use = Use()
        async with bench.fresh_server() as fresh:
            await _warm_up(fresh)
            await fresh.attackers("target", port=fresh.server.port)
            each = STALLED_CONNECTIONS // len(self.spaces)
            pulled = [space for space in self.spaces for _ in range(each)]
            tokens = [token for space in self.spaces for token in await _tokens_of_one(fresh, space, each)]
            spaces = await _open_others(fresh)
            before = await _probe(fresh, spaces)
            async with fresh.using(use):
                during = await _beside(fresh, spaces, "stall", tokens=tokens, spaces=pulled)
        return _waits("stalled pulls", before, during, use)

    async def fill(self, bench: Bench) -> None:
        """Make the spaces, before anything is measured."""
        for space in self.spaces:
            await bench.floors(
                "fill",
                space=space,
                records=bench.scale.stalled_records,
                blob_bytes=STALLED_SPACE_BYTES,
                records_per_push=100,
            )


async def _warm_up(bench: Bench) -> None:
    """What is made at first use is not the attackers' doing."""
    space = str(uuid4())
    await bench.open("warm-up", WARM_UP, space=space)
    await _push(bench, "warm-up", space, WARM_UP_PUSHES)
    await bench.load("close", group="warm-up")


async def _push(bench: Bench, group: str, space: str, pushes: int) -> None:
    shape = {"pushes": pushes, "records": 1, "blob_bytes": KIB}
    await bench.load("prepare", group=group, spaces=[space], **shape)
    await bench.load("push", group=group)


async def _tokens_of_one(bench: Bench, space: str, count: int) -> list[str]:
    made = await bench.load("tokens", count=count, user=f"user {space}", space=space, one_person=True)
    tokens: list[str] = made["tokens"]
    return tokens


async def _prepare(bench: Bench, command: str, connections: int, **shape: int) -> list[str]:
    """Have the attackers make their frames, for a space that exists; the tokens of their connections."""
    space = str(uuid4())
    await bench.open("attacker", 1, space=space)
    await _push(bench, "attacker", space, 1)
    await bench.load("close", group="attacker")
    await bench.attackers("target", port=bench.server.port)
    await bench.attackers(command, space=space, **shape)
    return await _tokens_of_one(bench, space, connections)


async def _open_others(bench: Bench) -> list[str]:
    """Connect who pushes and who pulls a small space; their spaces."""
    spaces = [str(uuid4()), str(uuid4())]
    for group, space in zip(("pusher", "puller"), spaces, strict=True):
        await bench.open(group, 1, space=space)
        await _push(bench, group, space, SMALL_SPACE_RECORDS)
    return spaces


async def _probe(bench: Bench, spaces: Sequence[str]) -> Times:
    who = {"pusher": "pusher", "puller": "puller", "spaces": spaces}
    done: Times = await bench.load("probe", seconds=bench.scale.attack_s, **who)
    return done


async def _beside(bench: Bench, others: Sequence[str], command: str, **arguments: Any) -> Times:
    """The times of the others while the attackers do `command`; then they leave."""
    attack = bench.attackers(command, seconds=bench.scale.attack_s, **arguments)
    during: Times
    during, _ = await asyncio.gather(_probe(bench, others), attack)
    for group in ("pusher", "puller"):
        await bench.load("close", group=group)
    return during


def _reset_peak(bench: Bench) -> int:
    usage.reset_peak(bench.server.pid)
    return usage.peak_bytes(bench.server.pid)


def _waits(attack: str, before: Times, during: Times, use: Use) -> Pairs:
    pairs = {}
    for kind in ("push", "pull"):
        calm_ms, attacked_ms = p95(before[kind]) * 1e3, p95(during[kind]) * 1e3
        bound_ms = max(WAIT_FACTOR * calm_ms, WAIT_MS)
        pairs[f"{attack}: {kind}"] = Pair(calm_ms, attacked_ms, attacked_ms / bound_ms, use)
    return pairs


def p95(values: Sequence[float]) -> float:
    """The value that a twentieth of them exceed."""
    return sorted(values)[len(values) * 95 // 100]


def _wait_row(name: str) -> Row:
    return Row(f"{name}: p95, to 3 times before or 150 ms", "the same before", "ms", 1.0, False, "")


ATTACK_ROWS: Final[Mapping[str, Row]] = {
    "strangers": Row(
        "2000 strangers send what they can: growth of the server", "", "MiB", 64.0, False, "", "{:.1f}"
    ),
    "tiny items memory": Row(
        "8 frames of 4 MiB of tiny items, one connection: growth of the server",
        "",
        "MiB",
        160.0,
        False,
        "",
        "{:.1f}",
    ),
    "tiny items wait": Row(
        "the same: longest wait of another's request", "", "ms", 250.0, False, "", "{:.0f}"
    ),
    "huge pushes: push": _wait_row("others' push while one user pushes 40,000 records, 8 connections"),
    "huge pushes: pull": _wait_row("others' pull meanwhile"),
    "stalled pulls: push": _wait_row("others' push while two users pull over 18 connections and do not read"),
    "stalled pulls: pull": _wait_row("others' pull meanwhile"),
}
