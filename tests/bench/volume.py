"""`make bench ARGS=--volume`: our volume server against the real one, by turns in the same run."""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy

from tests.bench import usage
from tests.bench.child import Child
from tests.bench.volume_rows import ROWS, TRAFFIC, Pair, Pairs, as_json, table
from tests.volume.cluster import Cluster, Kind, VolumeServer
from tests.volume.raw_http import request

CONNECTIONS: Final = 16
KIB: Final = 1024
SIZES: Final = {"1 KiB": KIB, "64 KiB": 64 * KIB, "1 MiB": KIB * KIB}
FILLED_VOLUME: Final = 3
"""Holds the files that are read; every run of writes has a new volume, which is deleted after it."""
FIRST_WRITTEN_VOLUME: Final = 10
MILLION: Final = 1_000_000
HALF: Final = 0.5


class Scale(NamedTuple):
    """How much is done in one run."""

    rounds: int = 7
    reads: Mapping[str, int] = {"1 KiB": 60_000, "64 KiB": 15_000, "1 MiB": 2_000}
    writes: Mapping[str, int] = {"1 KiB": 40_000, "64 KiB": 5_000, "1 MiB": 400}
    files: Mapping[str, int] = {"1 KiB": 2_000, "64 KiB": 400, "1 MiB": 50}
    paced_s: float = 3.0
    needles: int = MILLION


SMALL: Final = Scale(
    rounds=2,
    reads={"1 KiB": 2_000, "64 KiB": 400, "1 MiB": 60},
    writes={"1 KiB": 1_000, "64 KiB": 200, "1 MiB": 20},
    files={"1 KiB": 100, "64 KiB": 20, "1 MiB": 5},
    paced_s=0.3,
    needles=20_000,
)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Bench:
    """Both servers under one master, and the process that loads them."""

    cluster: Cluster
    load: Child
    scale: Scale
    written_volumes: int = 0
    servers: dict[Kind, VolumeServer] = field(default_factory=dict)

    async def of_both(self, run: Callable[[VolumeServer], Any], *, ours_first: bool) -> tuple[Any, Any]:
        """What `run` gives for the real server and for ours, one after the other."""
        order: list[Kind] = ["ours", "weed"] if ours_first else ["weed", "ours"]
        found = {kind: await run(self.servers[kind]) for kind in order}
        return found["weed"], found["ours"]

    async def flood(self, server: VolumeServer, command: str, **arguments: Any) -> tuple[float, float]:
        """Requests a second, and CPU microseconds of the server in one of them."""
        before = usage.cpu_s(server.pid)
        done = await self.load(command, port=server.port, **arguments)
        cpu_us = (usage.cpu_s(server.pid) - before) / done["requests"] * 1e6
        return done["requests"] / done["seconds"], cpu_us

    @asynccontextmanager
    async def new_volume(self, server: VolumeServer) -> AsyncIterator[int]:
        """A volume that is deleted again, so that no run finds another state than the first."""
        self.written_volumes += 1
        volume_id = FIRST_WRITTEN_VOLUME + self.written_volumes
        self.cluster.allocate(volume_id, servers=(server.number,))
        yield volume_id
        server.delete_volume(volume_id)


async def reads(bench: Bench, size: str, *, ours_first: bool) -> Pairs:
    """GET of ever the same files, as fast as they are answered."""

    async def run(server: VolumeServer) -> tuple[float, float]:
        volume_id = FILLED_VOLUME + 2 * list(SIZES).index(size) + server.number
        files, count = bench.scale.files[size], bench.scale.reads[size]
        return await bench.flood(server, "get", volume_id=volume_id, files=files, count=count)

    real, ours = await bench.of_both(run, ours_first=ours_first)
    return {f"GET {size}": Pair(real[0], ours[0], real[1], ours[1])}


async def writes(bench: Bench, size: str, *, ours_first: bool) -> Pairs:
    """PUT of ever new files, as fast as they are answered."""

    async def run(server: VolumeServer) -> tuple[float, float]:
        async with bench.new_volume(server) as volume_id:
            return await bench.flood(
                server, "put", volume_id=volume_id, size=SIZES[size], count=bench.scale.writes[size]
            )

    real, ours = await bench.of_both(run, ours_first=ours_first)
    return {f"PUT {size}": Pair(real[0], ours[0], real[1], ours[1])}


async def patience(bench: Bench, taken: Mapping[str, Pair], *, ours_first: bool) -> Pairs:
    """The 99th percentile of both at the same rate: half of what the slower one reached in this round."""
    found: Pairs = {}
    for method in ("GET", "PUT"):
        flooded = taken[f"{method} 1 KiB"]
        rate = HALF * min(flooded.real, flooded.ours)

        async def run(server: VolumeServer, method: str = method, rate: float = rate) -> float:
            if method == "GET":
                done = await bench.load(
                    "paced_get",
                    port=server.port,
                    volume_id=FILLED_VOLUME + server.number,
                    files=bench.scale.files["1 KiB"],
                    rate=rate,
                    seconds=bench.scale.paced_s,
                )
                return float(done["p99_ms"])
            async with bench.new_volume(server) as volume_id:
                done = await bench.load(
                    "paced_put",
                    port=server.port,
                    volume_id=volume_id,
                    size=KIB,
                    first_key=0,
                    rate=rate,
                    seconds=bench.scale.paced_s,
                )
            return float(done["p99_ms"])

        real, ours = await bench.of_both(run, ours_first=ours_first)
        found[f"{method} 1 KiB p99 at half load"] = Pair(real, ours)
    return found


async def fill(bench: Bench) -> None:
    """Write the files that are read; each size has a volume of its own on each server."""
    for index, (size, size_bytes) in enumerate(SIZES.items()):
        for server in bench.servers.values():
            volume_id = FILLED_VOLUME + 2 * index + server.number
            bench.cluster.allocate(volume_id, servers=(server.number,))
            count = bench.scale.files[size] + 1
            await bench.load("put", port=server.port, volume_id=volume_id, size=size_bytes, count=count)


async def traffic(directory: Path, scale: Scale) -> dict[str, list[Pair]]:
    """All rows of GET and PUT, in rounds."""
    results: dict[str, list[Pair]] = {name: [] for name in TRAFFIC}
    with Cluster(directory, "ours", "weed") as cluster:
        cluster.wait_for_nodes(2)
        async with Child("tests.bench.volume_load", connections=CONNECTIONS) as load:
            bench = Bench(cluster, load, scale)
            bench.servers = {server.kind: server for server in cluster.servers}
            await fill(bench)
            for number in range(scale.rounds):
                taken: Pairs = {}
                for size in SIZES:
                    taken |= await reads(bench, size, ours_first=number % 2 == 0)
                    taken |= await writes(bench, size, ours_first=number % 2 == 0)
                taken |= await patience(bench, taken, ours_first=number % 2 == 0)
                for name, pair in taken.items():
                    results[name].append(pair)
                    say(f"{name} {number + 1}/{scale.rounds}: {pair.ratio:.2f}")
    return results


def seconds_to_ready(server: VolumeServer) -> float:
    """From the start of a stopped server to its first answer."""
    started = time.perf_counter()
    server.begin()
    server.wait_until_ready()
    return time.perf_counter() - started


def seconds_to_stop(server: VolumeServer) -> float:
    started = time.perf_counter()
    server.stop()
    return time.perf_counter() - started


def life(directory: Path, scale: Scale) -> dict[str, list[Pair]]:
    """Starts, stops, and what many files cost a server that does nothing."""
    results: dict[str, list[Pair]] = {name: [] for name in ROWS if name not in TRAFFIC}
    many = directory / "many"
    with Cluster(directory / "empty", "ours", "weed") as empty, Cluster(many, "ours", "weed") as full:
        for server in full.servers:
            make_files(full, server, scale.needles)
        for number in range(scale.rounds):
            for name, pair in _one_life(empty.servers, full.servers, scale).items():
                results[name].append(pair)
                say(f"{name} {number + 1}/{scale.rounds}: {pair.ours:.2f} {ROWS[name].unit}")
    return results


def _one_life(empty: Sequence[VolumeServer], full: Sequence[VolumeServer], scale: Scale) -> Pairs:
    per_million = MILLION / scale.needles
    found: dict[str, dict[Kind, float]] = {name: {} for name in ROWS if name not in TRAFFIC}
    for one, other in zip(empty, full, strict=True):
        found["stop when idle"][one.kind] = seconds_to_stop(one)
        other.stop()
        ready = found["start to ready"][one.kind] = seconds_to_ready(one)
        loaded = seconds_to_ready(other) - ready
        found["loading a million files"][one.kind] = max(0.0, loaded) * per_million
        grown = usage.resident_bytes(other.pid) - usage.resident_bytes(one.pid)
        found["memory of a million files at rest"][one.kind] = grown / KIB / KIB * per_million
    return {name: Pair(values["weed"], values["ours"]) for name, values in found.items()}


def make_files(cluster: Cluster, server: VolumeServer, count: int) -> None:
    """Give a server a volume of `count` small files: copies of the record and the row of one it wrote."""
    cluster.allocate(FILLED_VOLUME + server.number, servers=(server.number,))
    base = server.directories[0] / str(FILLED_VOLUME + server.number)
    fid = f"{FILLED_VOLUME + server.number},010000000a"
    assert request(server.admin, "PUT", f"/{fid}", body=b"a file like any other").status == 201
    server.stop()
    data = base.with_suffix(".dat").read_bytes()
    record = numpy.frombuffer(data[8:], dtype=numpy.uint8)
    ids = numpy.arange(1, count + 1, dtype=">u8")
    records = numpy.tile(record, (count, 1))
    # A record begins with its cookie, four bytes, and its id, eight.
    records[:, 4:12] = ids.view(numpy.uint8).reshape(count, 8)
    row_layout = numpy.dtype([("id", ">u8"), ("offset", ">u4"), ("high", "u1"), ("size", ">i4")])
    (row,) = numpy.frombuffer(base.with_suffix(".idx").read_bytes(), dtype=row_layout)
    rows = numpy.empty(count, dtype=row_layout)
    rows["id"], rows["high"], rows["size"] = ids, 0, row["size"]
    rows["offset"] = 1 + numpy.arange(count) * (record.size // 8)
    with base.with_suffix(".dat").open("r+b") as file:
        file.seek(8)
        records.tofile(file)
    rows.tofile(base.with_suffix(".idx"))
    server.restart()
    for key in (1, count // 2, count):
        read = request(server.admin, "GET", f"/{FILLED_VOLUME + server.number},{key:08x}0000000a")
        assert read.body == b"a file like any other"


async def measure(directory: Path, scale: Scale, wanted: Collection[str]) -> dict[str, list[Pair]]:
    """Run what the wanted rows need; rows of one kind are measured together."""
    results: dict[str, list[Pair]] = {}
    if set(wanted) & set(TRAFFIC):
        results |= await traffic(directory / "traffic", scale)
    if set(wanted) - set(TRAFFIC):
        results |= life(directory / "life", scale)
    return {name: results[name] for name in ROWS if name in wanted}


async def run(
    disk: Path | None, *, scale: Scale, wanted: Collection[str] = ROWS.keys(), json_file: Path | None = None
) -> None:
    """Measure, print the table, and write every figure to `json_file` if one is named."""
    with tempfile.TemporaryDirectory(prefix="less-sync-bench-", dir=disk) as directory:
        if usage.file_system(Path(directory)) in ("tmpfs", "ramfs"):
            raise SystemExit(f"{directory} is in memory: --disk names another place")
        results = await measure(Path(directory), scale, wanted)
    print(table(results))
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "rounds": scale.rounds}
    about |= {"machine": usage.machine(), "python": sys.version.split()[0]}
    if json_file is not None:
        await asyncio.to_thread(json_file.write_text, json.dumps(as_json(results, about), indent=1) + "\n")
