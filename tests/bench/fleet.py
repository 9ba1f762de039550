"""`python -m tests.bench.fleet`: what ten thousand agents cost a plane, and a look at a hundred thousand.

The plane is `less-sync fleet serve` as a process, its Postgres one of its own that syncs to disk. Heartbeats
come at even distances, each over a new TCP connection, whether the ones before them were answered or not.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import asyncpg

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.fleet.line import FleetLine
from less_sync.fleet.plane import Plane
from less_sync.fleet.workers.health import HealthChecker
from less_sync.migrations import migrate_up
from tests.bench import usage
from tests.fleet.databases import connected
from tests.fleet.process import GIVEN, FleetProcess
from tests.fleet.rig import fleet_settings

INTERVAL_S: Final = 60
WARM_UP_PARALLEL: Final = 8
STATISTICS_S_MAX: Final = 40.0
"""Within which sessions that rest have told Postgres what they counted."""
AGENTS: Final = """
INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version, heartbeat_interval_seconds, boot_id,
  labels, token_hash)
SELECT lpad(to_hex(n), 32, '0')::uuid, gen_random_uuid(), 'sync-' || n, 'sync', 'linux', 'amd64', '1.0.0', 60,
  lpad(to_hex(n), 32, '0')::uuid, '{"tier": "gold", "ring": "1"}',
  sha256(('lsa_' || lpad(n::text, 43, '0'))::bytea)
FROM generate_series($1::int, $2::int) n"""
COUNTED: Final = (
    "SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'agents'"
)
REPORT: Final[dict[str, object]] = {
    "connections": 120,
    "spaces": 4_000,
    "records": 1_200_000,
    "files": 8_000,
    "storage_bytes": 9_000_000_000,
    "file_bytes": 40_000_000_000,
    "database_id": "0123456789abcdef",
    "peers": 3,
    "pushes_per_minute": 812.4,
    "pulls_per_minute": 201.0,
    "errors_per_minute": 0.0,
    "push_p99_ms": 7.25,
    "cpu_ratio": 0.31,
    "memory_used_bytes": 300_000_000,
    "memory_total_bytes": 4_000_000_000,
    "disk_used_bytes": 90_000_000_000,
    "disk_total_bytes": 200_000_000_000,
    "disk_free_ratio": 0.55,
    "database_ok": True,
    "database_kind": "embedded",
    "migration": 106,
    "backup_age_seconds": 3_600,
    "backup_interval_seconds": 86_400,
    "draining": False,
    "stopping": False,
    "features": ["federation", "files"],
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run measured, and what it is to reach."""

    agents: int
    seconds: float
    heartbeats: int
    refused: int
    """Anything but 200 `ok`; none."""
    plane_core: float
    """CPU of the plane, in cores; 0.20 at most."""
    waited: float
    """Part of the time in which the plane wanted a core and had none: unless near 0, p99 says little."""
    postgres_core: float
    load_core: float
    p50_ms: float
    p99_ms: float
    """From the first packet to the last; 20 at most."""
    hot: float
    """Part of the updates that touched no index; 0.9 at least."""
    sweep_agents: int
    sweep_s: float
    """One run of the health checker over so many; 0.5 at most."""

    def reached(self) -> bool:
        return (
            not self.refused
            and self.plane_core <= 0.20
            and self.p99_ms <= 20
            and self.hot >= 0.9
            and self.sweep_s <= 0.5
        )


@dataclass(slots=True)
class Load:
    """Agents, numbered from 1, each with the next sequence of its own."""

    port: int
    agents: int
    sequence: int = 0
    refused: int = 0

    async def warm_up(self, times: int) -> None:
        """Each agent's first heartbeats, a few at once."""

        async def some(first: int) -> None:
            for number in range(first, self.agents + 1, WARM_UP_PARALLEL):
                await self._beat(number, self.sequence)

        for _ in range(times):
            self.sequence += 1
            await asyncio.gather(*[some(first + 1) for first in range(WARM_UP_PARALLEL)])

    async def beats(self, count: int, per_s: float) -> list[float]:
        """Send heartbeats at even distances, one agent after the other; seconds that each took."""
        began = time.perf_counter()
        tasks = []
        for number in range(count):
            if number % self.agents == 0:
                self.sequence += 1
            wait_s = began + number / per_s - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._beat(number % self.agents + 1, self.sequence)))
        return await asyncio.gather(*tasks)

    async def _beat(self, number: int, sequence: int) -> float:
        agent_id = f"{number:032x}"
        agent_id = "-".join((agent_id[:8], agent_id[8:12], agent_id[12:16], agent_id[16:20], agent_id[20:]))
        body = json.dumps(
            {
                "sequence": sequence,
                "boot_id": agent_id,
                "version": "1.0.0",
                "uptime_seconds": 60 * sequence,
                "sent_at": datetime.now(UTC).isoformat(),
                "config_revision": 0,
                "report": REPORT | {"connections": number + sequence},
            }
        ).encode()
        head = (
            f"POST /management/v1/agents/{agent_id}/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer lsa_{number:043d}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        began = time.perf_counter()
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(head + body)
            answer = await reader.read()
            writer.close()
        except OSError:
            answer = b""
        took_s = time.perf_counter() - began
        if not answer.startswith(b"HTTP/1.1 200 ") or b'"status":"ok"' not in answer:
            self.refused += 1
        return took_s


async def measure(agents: int, seconds: float, sweep_agents: int, warm_ups: int) -> Figures:
    """One run."""
    with tempfile.TemporaryDirectory(prefix="less-sync-bench-") as directory:
        async with EmbeddedPostgres(Path(directory, "data")) as postgres:
            await migrate_up(postgres.url, line=FleetLine())
            async with connected(postgres.url) as connection:
                await connection.execute(AGENTS, 1, agents)
                await connection.execute("VACUUM ANALYZE agents")
            settings = {
                "DATABASE_URL": postgres.url,
                "DATA_DIR": directory,
                "LOG_LEVEL": "info",
                "HEARTBEAT_INTERVAL_SECONDS": str(INTERVAL_S),
                **GIVEN,
            }
            async with FleetProcess(settings, fresh=True) as plane:
                load = Load(plane.port, agents)
                await load.warm_up(warm_ups)
                async with connected(postgres.url) as connection:
                    updates, hot = await counted(connection, agents * warm_ups)
                    pids = (plane.pid, postgres.pid)
                    before, waited_s = [usage.family_cpu_s(pid) for pid in pids], usage.waited_s(plane.pid)
                    began, own = time.perf_counter(), time.process_time()
                    took_s = await load.beats(round(seconds * agents / INTERVAL_S), agents / INTERVAL_S)
                    wall_s, own = time.perf_counter() - began, time.process_time() - own
                    after = [usage.family_cpu_s(pid) for pid in pids]
                    waited_s = usage.waited_s(plane.pid) - waited_s
                    expected = updates + len(took_s) - load.refused
                    all_updates, all_hot = await counted(connection, expected)
            cores = [usage.spent_s(then, now) / wall_s for then, now in zip(before, after, strict=True)]
            sweep_s = await sweep(postgres.url, agents, sweep_agents)
            cuts = statistics.quantiles(took_s, n=100)
            return Figures(
                agents=agents,
                seconds=round(wall_s, 1),
                heartbeats=len(took_s),
                refused=load.refused,
                plane_core=round(cores[0], 4),
                waited=round(waited_s / wall_s, 4),
                postgres_core=round(cores[1], 4),
                load_core=round(own / wall_s, 4),
                p50_ms=round(cuts[49] * 1e3, 2),
                p99_ms=round(cuts[98] * 1e3, 2),
                hot=round((all_hot - hot) / (all_updates - updates), 4),
                sweep_agents=sweep_agents,
                sweep_s=round(sweep_s, 3),
            )


async def counted(connection: "asyncpg.Connection[Any] | Any", updates: int) -> tuple[int, int]:
    """Updates of agents, and those that touched no index, once Postgres has counted `updates`."""
    async with asyncio.timeout(STATISTICS_S_MAX):
        while True:
            await connection.execute("SELECT pg_stat_clear_snapshot()")
            [row] = await connection.fetch(COUNTED)
            if row["updates"] >= updates:
                return row["updates"], row["hot"]
            await asyncio.sleep(0.2)


async def sweep(url: str, agents: int, sweep_agents: int) -> float:
    """Seconds of one run of the health checker in which nobody is late, as nearly every one is."""
    async with connected(url) as connection:
        await connection.execute(AGENTS, agents + 1, sweep_agents)
        await connection.execute("UPDATE agents SET last_heartbeat_at = now()")
        await connection.execute("DELETE FROM worker_state")
    plane = await Plane.open(fleet_settings(), url)
    try:
        took_s = []
        for _ in range(3):
            async with connected(url) as connection:
                await connection.execute("UPDATE worker_state SET last_run_at = now() - interval '30 s'")
            began = time.perf_counter()
            assert not await HealthChecker().step(plane)
            took_s.append(time.perf_counter() - began)
        return statistics.median(took_s)
    finally:
        await plane.aclose()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fleet", description=__doc__)
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring, behind the warm-up")
    parser.add_argument("--sweep-agents", type=int, default=100_000)
    parser.add_argument("--warm-ups", type=int, default=2, help="heartbeats of each agent before")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)
    figures = asyncio.run(measure(options.agents, options.seconds, options.sweep_agents, options.warm_ups))
    for name, figure in asdict(figures).items():
        print(f"{name:>14}  {figure:,}")
    print(f"{'reached':>14}  {'yes' if figures.reached() else 'NO'}")
    if options.json:
        about = {"machine": usage.machine(), "python": sys.version.split()[0]}
        options.json.write_text(json.dumps(about | asdict(figures), indent=1) + "\n")


if __name__ == "__main__":
    main()
