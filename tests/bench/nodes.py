"""Several workers and nodes: what telling each other costs, and what a second process brings.

To have clients at a chosen process these rows start two *nodes*, servers with one database and one NATS:
between them goes what goes between two workers. Rows that need no choice start `--workers 2`.
"""

import statistics
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from tests.bench import usage
from tests.bench.model import KIB, Bench, Measure, Pair, Pairs, Row, Use
from tests.nats import NatsServer
from tests.wire.process import ServerProcess

MIB: Final = KIB * KIB
CONNECTIONS: Final = 32
WARM_UP_PUSHES: Final = 4
IDLE_WARM_UP: Final = 64
TURNS: Final = 6
CONNECT_PARALLEL: Final = 16
LARGE: Final = {"DATABASE_MAX_CONNECTIONS": "30"}


@dataclass(frozen=True, slots=True)
class Nodes:
    """Two nodes, freshly started, and everything that runs for them but Postgres."""

    bench: Bench
    one: ServerProcess
    other: ServerProcess
    nats: NatsServer

    @property
    def pids(self) -> Sequence[int]:
        return (self.one.pid, self.other.pid, self.nats.pid)

    async def open(self, server: ServerProcess, group: str, spaces: Sequence[str], *, listen: bool) -> None:
        """Open a connection to one of them for each space."""
        await open_at(self.bench, server, group, spaces, listen=listen)


async def open_at(
    bench: Bench, server: ServerProcess, group: str, spaces: Sequence[str], *, listen: bool
) -> None:
    """Open a connection to a server for each space, and be one of its listeners."""
    await bench.load("target", port=server.port)
    for space in spaces:
        await bench.open(group, 1, space=space, subscribe=listen)
    await bench.load("target", port=bench.server.port)


@asynccontextmanager
async def two_nodes(bench: Bench) -> AsyncIterator[Nodes]:
    """Two nodes on the database of the bench, and a NATS between them."""
    with tempfile.TemporaryDirectory(prefix="less-sync-bench-") as directory:
        with NatsServer(Path(directory)) as nats:
            settings = {**bench.settings, **nats.environment}
            async with (
                ServerProcess({**settings, "NODE_NAME": "one"}, fresh=True) as one,
                ServerProcess({**settings, "NODE_NAME": "other"}, fresh=True) as other,
            ):
                yield Nodes(bench, one, other, nats)


@dataclass(slots=True)
class Spent:
    """CPU seconds, of each process, of one run."""

    seconds: list[float] = field(default_factory=list)
    load_share: float = 0.0


async def pushed(
    bench: Bench, writers: ServerProcess, listeners: ServerProcess, pids: Sequence[int]
) -> Spent:
    """Pushes of 32 connections, each of which somebody at the other server hears."""
    spaces = [str(uuid4()) for _ in range(CONNECTIONS)]
    await open_at(bench, writers, "push", spaces, listen=False)
    await open_at(bench, listeners, "hear", spaces, listen=True)
    spent = Spent()
    for pushes in (WARM_UP_PUSHES, bench.scale.heard_pushes):
        await bench.load("prepare", group="push", spaces=spaces, pushes=pushes, records=1, blob_bytes=KIB)
        before = [usage.cpu_s(pid) for pid in pids]
        done = await bench.load("push_heard", group="push", listeners="hear")
        spent.seconds = [usage.cpu_s(pid) - then for pid, then in zip(pids, before, strict=True)]
        spent.load_share = done["cpu_s"] / done["wall_s"]
    for group in ("push", "hear"):
        await bench.load("close", group=group)
    return spent


async def crossing(bench: Bench) -> Pairs:
    """CPU of a push and its delivery at another node, against both in one process: µs, all processes."""
    count = CONNECTIONS * bench.scale.heard_pushes
    async with bench.start_server() as alone:
        floor_us = (await pushed(bench, alone, alone, [alone.pid])).seconds[0] / count * 1e6
    async with two_nodes(bench) as nodes:
        spent = await pushed(bench, nodes.one, nodes.other, nodes.pids)
    each_us = [seconds / count * 1e6 for seconds in spent.seconds]
    total_us = sum(each_us)
    use = Use(server_s=sum(spent.seconds), load_share=spent.load_share)
    return {
        "nodes push": Pair(floor_us, total_us, total_us / floor_us, use),
        **{name: Pair(floor_us, us, us / floor_us, use) for name, us in zip(PARTS, each_us, strict=True)},
    }


async def nodes_notification(bench: Bench) -> Pairs:
    """From a push to its notification at a listener of another node, against one of the same: ms more, p50.

    The two take turns within the run.
    """
    count = bench.scale.notifications // TURNS
    seconds: dict[str, list[float]] = {"local reader": [], "other reader": []}
    use, space = Use(), str(uuid4())
    async with two_nodes(bench) as nodes:
        await nodes.open(nodes.one, "local reader", [space], listen=True)
        await nodes.open(nodes.other, "other reader", [space], listen=True)
        await nodes.open(nodes.one, "writer", [space], listen=False)
        for _ in range(TURNS):
            for reader, taken in seconds.items():
                before = sum(map(usage.cpu_s, nodes.pids))
                call: dict[str, Any] = {"pusher": "writer", "space": space, "blob_bytes": KIB}
                taken += (await bench.load("notify", subscriber=reader, count=count, **call))["seconds"]
                use.server_s += sum(map(usage.cpu_s, nodes.pids)) - before
                other = next(name for name in seconds if name != reader)
                await bench.load("drain", group=other, frames=count)
        for group in (*seconds, "writer"):
            await bench.load("close", group=group)
    local_ms, other_ms = (statistics.median(taken) * 1e3 for taken in seconds.values())
    return {"nodes notification": Pair(local_ms, other_ms, other_ms - local_ms, use)}


@asynccontextmanager
async def two_workers(bench: Bench) -> AsyncIterator[ServerProcess]:
    """`less-sync serve --workers 2`."""
    async with ServerProcess({**bench.settings, **LARGE}, ("--workers", "2"), fresh=True) as running:
        yield running


async def workers_rates(bench: Bench) -> Pairs:
    """Pushes and connects a second of two workers against those of one process, CPU of all processes each."""
    pushes, connects, uses = [], [], []
    each_us: list[list[float]] = []
    async with (
        ServerProcess({**bench.settings, **LARGE}, fresh=True) as alone,
        two_workers(bench) as workers,
    ):
        for server in (alone, workers):
            before = usage.family_cpu_s(server.pid)
            spaces = [str(uuid4()) for _ in range(CONNECTIONS)]
            await open_at(bench, server, "push", spaces, listen=False)
            shape = {"pushes": bench.scale.single_pushes, "records": 1, "blob_bytes": KIB}
            await bench.load("prepare", group="push", spaces=spaces, **shape)
            await bench.floors("checkpoint")
            done = await bench.load("push", group="push")
            await bench.load("close", group="push")
            pushes.append(done["pushes"] / done["seconds"])
            between = usage.family_cpu_s(server.pid)
            spent = sorted((between[pid] - before[pid] for pid in before.keys() & between), reverse=True)
            each_us.append([seconds / done["pushes"] * 1e6 for seconds in spent])
            space, count = str(uuid4()), bench.scale.connects
            await bench.load("target", port=server.port)
            tokens = (await bench.load("tokens", count=count, user="many", space=space))["tokens"]
            call = {"group": "many", "tokens": tokens, "parallel": CONNECT_PARALLEL, "subscribe": space}
            opened = await bench.load("open", **call)
            await bench.load("close", group="many")
            await bench.load("target", port=bench.server.port)
            connects.append(count / opened["seconds"])
            after = usage.family_cpu_s(server.pid)
            shares = [one["cpu_s"] / one["wall_s"] for one in (done, opened)]
            uses = [
                Use(server_s=usage.spent_s(*pair), load_share=share)
                for pair, share in zip(((before, between), (between, after)), shares, strict=True)
            ]
    one_us, (busier_us, other_us, *rest_us) = each_us[0][0], each_us[1]
    parts_us = (busier_us, other_us, sum(rest_us))
    return {
        **{
            name: Pair(floor, served, served / floor, use)
            for name, (floor, served), use in zip(
                ("workers push", "workers connect"), (pushes, connects), uses, strict=True
            )
        },
        **{
            name: Pair(one_us, us, us / one_us, Use())
            for name, us in zip(WORKERS_PARTS, parts_us, strict=True)
        },
    }


async def workers_memory(bench: Bench) -> Pairs:
    """Resident memory of a second worker that has nothing to do, and of what it needs beside: MiB."""
    async with two_workers(bench) as running:
        family = [running.pid, *usage.children(running.pid)]
        sizes = sorted(usage.resident_bytes(pid) / MIB for pid in family)
    async with bench.start_server() as alone:
        one = usage.resident_bytes(alone.pid) / MIB
    second = sizes[-1]
    use = Use()
    return {
        "workers memory": Pair(None, second, second, use),
        "workers beside": Pair(one, sum(sizes) - 2 * second, sum(sizes) - 2 * second, use),
    }


async def nodes_idle(bench: Bench) -> Pairs:
    """Memory of a subscribed connection in a space of its own, with the bus, over one without: KiB."""
    count = bench.scale.connects
    each: list[float] = []
    async with two_nodes(bench) as nodes, bench.start_server() as alone:
        for server in (alone, nodes.one):
            warm = [str(uuid4()) for _ in range(IDLE_WARM_UP)]
            await open_at(bench, server, "warm-up", warm, listen=True)
            await bench.load("close", group="warm-up")
            before = usage.resident_bytes(server.pid)
            spaces = [str(uuid4()) for _ in range(count)]
            await open_at(bench, server, "idle", spaces, listen=True)
            each.append((usage.resident_bytes(server.pid) - before) / count / KIB)
            await bench.load("close", group="idle")
    without, with_bus = each
    return {"nodes idle": Pair(without, with_bus, with_bus - without, Use())}


PARTS: Final = ("nodes push: writers' node", "nodes push: listeners' node", "nodes push: NATS")
_ONE: Final = "push and delivery in one process"
WORKERS_PARTS: Final = (
    "workers push: busier worker",
    "workers push: other worker",
    "workers push: supervisor and NATS",
)
_ONE_PUSH: Final = "a push in one process"

NODES_ROWS: Final[Mapping[str, Row]] = {
    "nodes push": Row(
        "push of 1 record at one node, 32 connections, and delivery at another: CPU of both and NATS",
        _ONE,
        "µs",
        1.25,
        False,
        "",
    ),
    PARTS[0]: Row("of it the node that is pushed to", _ONE, "µs", 1.25, False, ""),
    PARTS[1]: Row("of it the node that delivers", _ONE, "µs", 1.25, False, ""),
    PARTS[2]: Row("of it NATS", _ONE, "µs", 1.25, False, ""),
    "nodes notification": Row(
        "push at one node to notification at another, p50: what it takes longer",
        "the same at a listener of the same node",
        "ms",
        1.5,
        False,
        "",
    ),
    "workers push": Row(
        "push of 1 record, 32 connections: two workers", "one process", "pushes/s", 0.0, True, ""
    ),
    WORKERS_PARTS[0]: Row("CPU a push of it: the busier worker", _ONE_PUSH, "µs", 0.0, True, ""),
    WORKERS_PARTS[1]: Row("CPU a push of it: the other worker", _ONE_PUSH, "µs", 0.0, True, ""),
    WORKERS_PARTS[2]: Row("CPU a push of it: supervisor and NATS", _ONE_PUSH, "µs", 0.0, True, ""),
    "workers connect": Row(
        "connect, authenticate, subscribe, 16 at a time: two workers", "one process", "/s", 0.0, True, ""
    ),
    "workers memory": Row(
        "a second worker with nothing to do: resident memory", "", "MiB", 80.0, False, "", "{:.1f}"
    ),
    "workers beside": Row(
        "what two workers have beside them (supervisor, NATS): resident memory",
        "one process alone",
        "MiB",
        128.0,
        False,
        "",
        "{:.1f}",
    ),
    "nodes idle": Row(
        "idle connection in a space of its own, with the bus: resident memory it takes more",
        "the same without a bus",
        "KiB",
        2.0,
        False,
        "",
        "{:.1f}",
    ),
}


def nodes_measures() -> list[tuple[frozenset[str], Measure]]:
    """What fills which of these rows."""
    return [
        (frozenset({"nodes push", *PARTS}), crossing),
        (frozenset({"nodes notification"}), nodes_notification),
        (frozenset({"workers push", "workers connect", *WORKERS_PARTS}), workers_rates),
        (frozenset({"workers memory", "workers beside"}), workers_memory),
        (frozenset({"nodes idle"}), nodes_idle),
    ]
