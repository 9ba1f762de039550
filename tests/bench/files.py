"""Files over HTTP: one content of 100 MiB up and down, and 64 uploads at once, on a disk and in a bucket."""

import asyncio
import base64
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal
from uuid import uuid4

from tests.bench import usage
from tests.bench.contents import BucketAddress
from tests.bench.frames import wrapped_dek
from tests.bench.model import KIB, Bench, Pair, Pairs, Target, Use
from tests.weed import own_server
from tests.wire.process import ServerProcess

MIB: Final = KIB * KIB
Store = Literal["local", "s3"]


@dataclass(frozen=True, slots=True)
class Place:
    """A space with a record that files can belong to."""

    space: str
    headers: Mapping[str, str]

    def paths(self, count: int) -> list[str]:
        return [f"/api/v1/spaces/{self.space}/files/{uuid4()}" for _ in range(count)]


async def _place(bench: Bench) -> Place:
    space = str(uuid4())
    record = (await bench.floors("one_record", space=space))["record"]
    token = (await bench.load("tokens", count=1, user=f"files {space}", space=space))["tokens"][0]
    return Place(
        space,
        {
            "Authorization": f"Bearer {token}",
            "X-Record-ID": record,
            "X-Wrapped-DEK": base64.b64encode(wrapped_dek()).decode(),
        },
    )


@dataclass(frozen=True, slots=True)
class Side:
    """A server, ours or a bare one, and what is asked of it."""

    bench: Target
    port: int
    place: Place
    use: Use

    async def transfer(
        self, command: str, paths: list[str], size_bytes: int, expected: int
    ) -> dict[str, Any]:
        """Move contents of this size at once, and fail unless all were answered as they should be."""
        call = {"port": self.port, "paths": paths, "size_bytes": size_bytes}
        done = await self.bench.load(command, **call, headers=dict(self.place.headers))
        self.use.load_share = done["cpu_s"] / done["wall_s"]
        if done["statuses"] != [expected] * len(paths):
            raise RuntimeError(f"{command} was answered {done['statuses']}")
        return done

    async def up_and_down(self, size_bytes: int) -> tuple[float, float]:
        """Upload a content and download it again: how many seconds each took."""
        paths = self.place.paths(1)
        up = await self.transfer("put", paths, size_bytes, 201)
        down = await self.transfer("get", paths, size_bytes, 200)
        return up["seconds"], down["seconds"]


async def by_turns(sides: Sequence[Side], size_bytes: int, times: int) -> list[list[float]]:
    """Let all sides upload and download by turns: for each the median of its uploads and of its downloads.

    A disk that slows down slows all of them.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in sides]
    for _ in range(times):
        for side, seconds in zip(sides, taken, strict=True):
            seconds.append(await side.up_and_down(size_bytes))
    return [[statistics.median(times) for times in zip(*seconds, strict=True)] for seconds in taken]


@dataclass(frozen=True, slots=True)
class FileRows:
    """Contents through the server against a bare server on the same disk, or before the same bucket."""

    store: Store

    @property
    def names(self) -> frozenset[str]:
        return frozenset(
            f"{self.store} {what}" for what in ("upload", "download", "file memory", "64 uploads")
        )

    async def __call__(self, bench: Bench) -> Pairs:
        scale, use = bench.scale, Use()
        async with self._kept(bench) as (settings, floor_port), ServerProcess(settings, fresh=True) as server:
            place = await _place(bench)
            served, bare = Side(bench, server.port, place, use), Side(bench, floor_port, place, Use())
            await by_turns([bare, served], MIB, 2)  # threads, connections and imports are there
            usage.reset_peak(server.pid)
            idle = usage.peak_bytes(server.pid)
            before = usage.cpu_s(server.pid)
            floor, ours = await by_turns([bare, served], scale.file_bytes, scale.file_transfers)
            use.server_s = usage.cpu_s(server.pid) - before
            grown = usage.growth_bytes(server.pid, idle) / MIB
            usage.reset_peak(server.pid)
            idle = usage.peak_bytes(server.pid)
            await served.transfer("put", place.paths(scale.files_at_once), scale.small_file_bytes, 201)
            many = usage.growth_bytes(server.pid, idle) / MIB
        size_mib = scale.file_bytes / MIB
        speeds = [
            Pair(size_mib / floor_s, size_mib / our_s, floor_s / our_s, use)
            for floor_s, our_s in zip(floor, ours, strict=True)
        ]
        return {
            f"{self.store} upload": speeds[0],
            f"{self.store} download": speeds[1],
            f"{self.store} file memory": Pair(None, grown, grown, use),
            f"{self.store} 64 uploads": Pair(None, many, many, Use()),
        }

    @asynccontextmanager
    async def _kept(self, bench: Bench) -> AsyncIterator[tuple[Mapping[str, str], int]]:
        """Settings of a server that keeps files, and the port of the bare one beside it."""
        directory = bench.disk / f"files {uuid4()}"
        (directory / "bare").mkdir(parents=True)
        settings = {**bench.settings, "DATA_DIR": str(directory / "data"), "FILE_STORAGE_BACKEND": self.store}
        if self.store == "local":
            port = (await bench.floors("serve_directory", directory=str(directory / "bare")))["port"]
            yield settings, port
            return
        weed = own_server(directory / "s3")
        s3 = await asyncio.to_thread(weed.__enter__)
        try:
            bucket = BucketAddress(s3.endpoint, "bench", s3.access_key, s3.secret_key)
            port = (await bench.floors("serve_bucket", bucket=asdict(bucket)))["port"]
            yield (
                settings
                | {
                    "FILE_S3_ENDPOINT": bucket.endpoint,
                    "FILE_S3_BUCKET": bucket.bucket,
                    "FILE_S3_ACCESS_KEY": bucket.access_key,
                    "FILE_S3_SECRET_KEY": bucket.secret_key,
                },
                port,
            )
        finally:
            await asyncio.to_thread(weed.__exit__, None, None, None)
