"""What is measured: one row of the table each, with its floor, what it should reach, and how."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from tests.bench import usage
from tests.bench.attacks import ATTACK_ROWS, StalledPulls, huge_pushes, strangers, tiny_items
from tests.bench.chains import measure_chains
from tests.bench.federation import FEDERATION_ROWS, federation_measures
from tests.bench.files import FileRows
from tests.bench.folder import FolderRows
from tests.bench.model import KIB, Bench, Measure, Pair, Pairs, Row, Scale, Use
from tests.bench.nodes import NODES_ROWS, nodes_measures
from tests.bench.starting import START_ROWS, starting
from tests.wire.process import Program

CONNECT_PARALLEL: Final = 16
IDLE_WARM_UP: Final = 64
NOTIFICATION_TURNS: Final = 6


@dataclass(frozen=True, slots=True)
class Pushes:
    """Pushes in parallel against bare inserts: pushes a second."""

    row: str
    connections: int
    one_space: bool
    records: int
    count: Callable[[Scale], int]

    async def __call__(self, bench: Bench) -> Pairs:
        shape = {"pushes": self.count(bench.scale), "records": self.records, "blob_bytes": KIB}
        await bench.floors("checkpoint")
        done = await bench.floors("insert", connections=self.connections, spaces=self.connections, **shape)
        floor = done["pushes"] / done["seconds"]

        spaces = [str(uuid4()) for _ in range(1 if self.one_space else self.connections)]
        for space in spaces:
            await bench.open("push", self.connections // len(spaces), space=space)
        await bench.load("prepare", group="push", spaces=spaces, **shape)
        await bench.floors("checkpoint")
        use = Use()
        done = await bench.measured(use, "push", group="push")
        await bench.load("close", group="push")
        served = done["pushes"] / done["seconds"]
        return {self.row: Pair(floor, served, served / floor, use)}


@dataclass(frozen=True, slots=True)
class ShortPull:
    """A pull of 10,000 records against a bare fetch: records a second."""

    row: str
    space: str
    records: int

    async def __call__(self, bench: Bench) -> Pairs:
        times = bench.scale.short_pulls
        floor_s, served_s = [], []
        for _ in range(times):
            done = await bench.floors("fetch", space=self.space)
            assert done["rows"] == self.records, done
            floor_s.append(done["seconds"])
        floor = self.records / statistics.median(floor_s)
        await bench.open("pull", 1, space=self.space)
        use = Use()
        for _ in range(times):
            done = await bench.measured(use, "pull", group="pull", space=self.space)
            assert done["frames"] == self.records + 3, done  # begin, commit and the result
            served_s.append(done["seconds"])
        await bench.load("close", group="pull")
        served = self.records / statistics.median(served_s)
        return {self.row: Pair(floor, served, served / floor, use)}


@dataclass(frozen=True, slots=True)
class LongPull:
    """A long pull: server CPU per record, and how much memory it takes while it runs."""

    cpu_row: str
    memory_row: str
    space: str
    records: int

    async def __call__(self, bench: Bench) -> Pairs:
        done = await bench.floors("portal", space=self.space)
        assert done["rows"] == self.records, done
        floor_us = done["cpu"] / done["rows"] * 1e6
        use = Use()
        async with bench.fresh_server() as fresh:
            await fresh.open("pull", 1, space=self.space)
            await fresh.load("pull", group="pull", space=str(uuid4()))  # nothing there, but the path is warm
            usage.reset_peak(fresh.server.pid)
            idle = usage.peak_bytes(fresh.server.pid)
            done = await fresh.measured(use, "pull", group="pull", space=self.space)
            grown = usage.growth_bytes(fresh.server.pid, idle) / KIB / KIB
            await fresh.load("close", group="pull")
        assert done["frames"] == self.records + 3, done
        served_us = use.server_s / self.records * 1e6
        return {
            self.cpu_row: Pair(floor_us, served_us, served_us / floor_us, use),
            self.memory_row: Pair(None, grown, grown, use),
        }


async def fan_out(bench: Bench) -> Pairs:
    """One record to many subscribers: CPU per delivery, against writing to as many bare sockets."""
    scale = bench.scale
    space = str(uuid4())
    await bench.open("subscribers", scale.subscribers, space=space, subscribe=True)
    await bench.open("pusher", 1, space=space)
    call = {"subscribers": "subscribers", "trigger": "pusher", "space": space, "blob_bytes": KIB}
    once = await bench.load("fan_out", rounds=1, **call)
    frame_bytes = once["bytes"] // once["deliveries"]

    port = (await bench.floors("serve_frames", frame_bytes=frame_bytes))["port"]
    await bench.load("open_bare", group="bare", count=scale.subscribers, port=port)
    await bench.load("open_bare", group="bare trigger", count=1, port=port)
    bare = {"subscribers": "bare", "trigger": "bare trigger", "space": None, "blob_bytes": 0}
    await bench.load("fan_out", rounds=1, **bare)
    before = usage.cpu_s(bench.floors.pid)
    done = await bench.load("fan_out", rounds=scale.fan_outs, **bare)
    floor_us = (usage.cpu_s(bench.floors.pid) - before) / done["deliveries"] * 1e6
    await bench.load("close", group="bare")
    await bench.load("close", group="bare trigger")

    use = Use()
    done = await bench.measured(use, "fan_out", rounds=scale.fan_outs, **call)
    await bench.load("close", group="subscribers")
    await bench.load("close", group="pusher")
    served_us = use.server_s / done["deliveries"] * 1e6
    return {"fan-out": Pair(floor_us, served_us, floor_us / served_us, use)}


async def notification(bench: Bench) -> Pairs:
    """From a push to its notification at another device, nothing else going on: medians in ms.

    Floor and server take turns within the run too: a disk that slows down slows both.
    """
    count = bench.scale.notifications // NOTIFICATION_TURNS
    space = str(uuid4())
    await bench.open("reader", 1, space=space, subscribe=True)
    await bench.open("writer", 1, space=space)
    call = {"subscriber": "reader", "pusher": "writer", "space": space, "count": count, "blob_bytes": KIB}
    floor: list[float] = []
    served: list[float] = []
    use = Use()
    for _ in range(NOTIFICATION_TURNS):
        floor += (await bench.floors("commit_times", count=count, blob_bytes=KIB))["seconds"]
        served += (await bench.measured(use, "notify", **call))["seconds"]
    await bench.load("close", group="reader")
    await bench.load("close", group="writer")
    floor_ms, served_ms = statistics.median(floor) * 1e3, statistics.median(served) * 1e3
    return {"notification": Pair(floor_ms, served_ms, served_ms / floor_ms, use)}


async def connecting(bench: Bench) -> Pairs:
    """Connect, authenticate, subscribe: server CPU each, against one verification of a token."""
    count = bench.scale.connects
    space = str(uuid4())
    tokens = (await bench.load("tokens", count=count, user="connecting", space=space))["tokens"]
    key_set = bench.issuer.key_set().decode()
    done = await bench.floors("verify", token=tokens[0], key_set=key_set, count=bench.scale.verifications)
    floor_us = done["cpu"] / bench.scale.verifications * 1e6
    use = Use()
    await bench.measured(
        use, "open", group="connecting", tokens=tokens, parallel=CONNECT_PARALLEL, subscribe=space
    )
    await bench.load("close", group="connecting")
    served_us = use.server_s / count * 1e6
    return {"connect": Pair(floor_us, served_us, served_us / floor_us, use)}


async def idle(bench: Bench) -> Pairs:
    """Memory of open connections that have nothing to do, in a server just started: KiB each."""
    count = bench.scale.connects
    space = str(uuid4())
    use = Use()
    async with bench.fresh_server() as fresh:
        await fresh.open("warm-up", IDLE_WARM_UP, space=space, subscribe=True)
        await fresh.load("close", group="warm-up")
        before = usage.resident_bytes(fresh.server.pid)
        await fresh.open("idle", count, space=space, subscribe=True)
        each_kib = (usage.resident_bytes(fresh.server.pid) - before) / count / KIB
        await fresh.load("close", group="idle")
    return {"idle": Pair(None, each_kib, each_kib, use)}


async def chains(bench: Bench) -> Pairs:
    """UCAN chains validated cold against bare cryptography, and warm against cold: µs of CPU each."""
    count = bench.scale.chains
    times = measure_chains(count)
    floor_us, cold_us, warm_us = (
        seconds / count * 1e6 for seconds in (times.floor_s, times.cold_s, times.warm_s)
    )
    return {
        "chain cold": Pair(floor_us, cold_us, floor_us / cold_us, Use(server_s=times.cold_s)),
        "chain warm": Pair(cold_us, warm_us, cold_us / warm_us, Use(server_s=times.warm_s)),
    }


SINGLE_FLOOR: Final = "one prepared INSERT per commit"
MANY_FLOOR: Final = "one INSERT ... SELECT unnest per push"

ROWS: Final[Mapping[str, Row]] = {
    "push 1": Row(
        "push of 1 record of 1 KiB, 32 connections in parallel", SINGLE_FLOOR, "pushes/s", 0.75, True, "0.15"
    ),
    "push 1 shared": Row("the same, all 32 in one space", SINGLE_FLOOR, "pushes/s", 0.75, True, "0.05"),
    "push 100": Row("push of 100 records, 4 connections", MANY_FLOOR, "pushes/s", 0.70, True, "0.13"),
    "push 1000": Row("push of 1000 records, 2 connections", MANY_FLOOR, "pushes/s", 0.65, True, "0.18"),
    "pull": Row(
        "pull of 10,000 records of 1 KiB", "a bare fetch of the same rows", "records/s", 0.45, True, "0.25"
    ),
    "long pull": Row(
        "pull of 1,000,000 records of 100 B: server CPU a record",
        "a bare portal over the same rows",
        "µs",
        3.0,
        False,
        "",
    ),
    "long pull memory": Row(
        "the same: peak memory of the server over its idle memory", "", "MiB", 32.0, False, "0", "{:.1f}"
    ),
    "fan-out": Row(
        "fan-out of 1 KiB to 1000 subscribers: server CPU per delivery",
        "transport.write in a loop over 1000 sockets",
        "µs",
        0.90,
        True,
        "0.6",
    ),
    "notification": Row(
        "push to notification at another device, nothing else going on, p50",
        "one insert and commit, p50",
        "ms",
        2.2,
        False,
        "4",
    ),
    "connect": Row(
        "connect, authenticate, subscribe, 2000 times, 16 at a time: server CPU each",
        "one ES256 verification by PyJWT",
        "µs",
        4.0,
        False,
        "5",
    ),
    "chain cold": Row(
        "UCAN chain of depth 4 validated, nothing of it known yet: CPU",
        "4 bare ECDSA verifications and 4 point decodings",
        "µs",
        0.60,
        True,
        "",
    ),
    "chain warm": Row(
        "the same, its tokens known: CPU", "the same chain cold", "µs", 10.0, True, "", "{:.1f}"
    ),
    "folder push": Row(
        "`less-sync push` of a folder of 20,000 files of 1 KiB",
        "the same files read, sealed and inserted, 1000 at a time",
        "files/s",
        10.0,
        False,
        "",
    ),
    "folder pull": Row(
        "`less-sync pull` of them into an empty folder",
        "the same files written aside, synced each, and renamed",
        "files/s",
        1.5,
        False,
        "",
    ),
    "idle": Row("idle connection: resident memory, at 2000", "", "KiB", 20.0, False, "140", "{:.1f}"),
    **START_ROWS,
    "local upload": Row(
        "upload of a file of 100 MiB to a local directory",
        "a bare asyncio server that writes, syncs and renames it",
        "MiB/s",
        0.5,
        True,
        "",
    ),
    "local download": Row(
        "download of it", "a bare asyncio server that reads and sends it", "MiB/s", 0.5, True, ""
    ),
    "local file memory": Row("the same: growth of the server", "", "MiB", 16.0, False, "", "{:.1f}"),
    "local 64 uploads": Row(
        "64 uploads of 9 MiB at once: growth of the server", "", "MiB", 96.0, False, "", "{:.1f}"
    ),
    "s3 upload": Row(
        "upload of a file of 100 MiB to S3",
        "a bare asyncio server that passes it on in parts",
        "MiB/s",
        0.5,
        True,
        "",
    ),
    "s3 download": Row("download of it", "a bare asyncio server that passes it back", "MiB/s", 0.5, True, ""),
    "s3 file memory": Row("the same: growth of the server", "", "MiB", 16.0, False, "", "{:.1f}"),
    "s3 64 uploads": Row(
        "64 uploads of 9 MiB at once: growth of the server", "", "MiB", 96.0, False, "", "{:.1f}"
    ),
    **ATTACK_ROWS,
    **FEDERATION_ROWS,
    **NODES_ROWS,
}


ONCE: Final = frozenset({"edge slow pull memory"})
"""Rows of one run: it takes minutes, and a peak of memory needs no median."""
STALLED_ROWS: Final = frozenset({"stalled pulls: push", "stalled pulls: pull"})


def measures(
    short_pull: str, long_pull: str, stalled_pulls: StalledPulls, scale: Scale, program: Program
) -> list[tuple[frozenset[str], Measure]]:
    """What fills which rows. The spaces that are pulled are filled already; `program` is our own."""
    long_rows = ("long pull", "long pull memory")
    folder_rows = ("folder push", "folder pull")
    return [
        (frozenset({"push 1"}), Pushes("push 1", 32, False, 1, lambda of: of.single_pushes)),
        (frozenset({"push 1 shared"}), Pushes("push 1 shared", 32, True, 1, lambda of: of.single_pushes)),
        (frozenset({"push 100"}), Pushes("push 100", 4, False, 100, lambda of: of.hundred_pushes)),
        (frozenset({"push 1000"}), Pushes("push 1000", 2, False, 1000, lambda of: of.thousand_pushes)),
        (frozenset({"pull"}), ShortPull("pull", short_pull, SHORT_PULL_RECORDS)),
        (frozenset(long_rows), LongPull(*long_rows, long_pull, scale.long_pull_records)),
        (frozenset({"fan-out"}), fan_out),
        (frozenset({"notification"}), notification),
        (frozenset({"connect"}), connecting),
        (frozenset({"chain cold", "chain warm"}), chains),
        (frozenset(folder_rows), FolderRows(*folder_rows, program)),
        (frozenset({"idle"}), idle),
        (frozenset(START_ROWS), starting),
        *((rows.names, rows) for rows in (FileRows("local"), FileRows("s3"))),
        (frozenset({"strangers"}), strangers),
        (frozenset({"tiny items memory", "tiny items wait"}), tiny_items),
        (frozenset({"huge pushes: push", "huge pushes: pull"}), huge_pushes),
        (STALLED_ROWS, stalled_pulls),
        *federation_measures(),
        *nodes_measures(),
    ]


SHORT_PULL_RECORDS: Final = 10_000
