"""What is reported of a real server, of its workers and of a machine: figures, and nobody's name."""

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from less_sync.bins.admin.families import Values, counter, histogram
from less_sync.bins.admin.holdings import REFRESH_S, HoldingsWatch
from less_sync.bins.admin.merged import MergedServer, Workers
from less_sync.bins.backup.last import LAST_BACKUP
from less_sync.bins.reporting.counted import Counted, counted, rates
from less_sync.bins.reporting.host import Disk, HostWatch, fullest
from less_sync.bins.reporting.identity import as_semver, identity, own_version
from less_sync.bins.reporting.server import AllWorkers, OwnServer, Reported, ServerSnapshot
from less_sync.bins.settings.config import Settings
from less_sync.fleet.reporter.messages import is_version
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.reporter import Served
from less_sync.fleet.reports import REPORT
from less_sync.storage import Histogram
from less_sync.sync.limits import Limits
from tests.bins.admin.opened import merged
from tests.federation.inbound.peer_client import home_server
from tests.fleet.reported import running
from tests.fleet.stub_plane import stub_plane
from tests.live import CLIENT_ID, ISSUER, Client, Live, Person, claims, live_server
from tests.storage.support import execute
from tests.sync.session.test_session import change
from tests.wire.client import Closed

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 5, 1, tzinfo=UTC)
QUICK = Limits(drain_spread_s=0.01, drain_timeout_s=0.5, delivery_probe_interval_s=600.0)


def settings_of(database_url: str, data_dir: Path, **more: str) -> Settings:
    given = {"DATABASE_URL": database_url, "TRUSTED_ISSUERS": ISSUER, "DATA_DIR": str(data_dir)}
    return Settings.from_env(given | {"FLEET_URL": "https://fleet.example"} | more)


async def migration() -> int:
    return 106


class Sampled:
    """A snapshot whose clock the test moves."""

    def __init__(self, settings: Settings, reported: Reported) -> None:
        self.now_s = 0.0
        self.snapshot = ServerSnapshot(
            settings, reported, migration, clock=lambda: self.now_s, now=lambda: NOW.timestamp()
        )

    async def after(self, seconds: float) -> Report:
        self.now_s += seconds
        return await self.snapshot.report()


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url, QUICK) as found:
        yield found


def test_the_page_lists_what_leaves_the_machine_and_nothing_else() -> None:
    page = (ROOT / "docs" / "fleet.md").read_text()
    part = page.partition("What leaves the machine\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == list(Report.__struct_fields__)
    assert list(REPORT) == list(Report.__struct_fields__), "the plane knows another list"


async def test_the_figures_are_those_of_the_server(live: Live, database_url: str, tmp_path: Path) -> None:
    settings = settings_of(database_url, tmp_path, BACKUP_INTERVAL_SECONDS="3600")
    sampled = Sampled(settings, OwnServer(live.services, live.pool))
    first = await sampled.after(0)
    assert (first.connections, first.pushes_per_minute, first.backup_age_seconds) == (0, None, None)
    clients = [await live.connect("alice"), await live.connect("bob")]
    for client in clients:
        await client.push(change(), change())
    await clients[0].pull()
    assert (await clients[0].error("?", {}))[0] == "method_not_found"
    named = {"finished_at": "2026-04-30T23:00:00Z", "folder": "/x", "digest": "d"}
    (tmp_path / LAST_BACKUP).write_text(json.dumps(named))
    told = await sampled.after(30)
    assert (told.connections, told.peers) == (2, 0)
    assert (told.pushes_per_minute, told.pulls_per_minute, told.errors_per_minute) == (4, 2, 0)
    assert told.push_p99_ms is not None
    assert 0 < told.push_p99_ms < 30_000
    assert (told.backup_age_seconds, told.backup_interval_seconds) == (3600, 3600)
    assert (told.database_ok, told.database_kind, told.migration) == (True, "external", 106)
    assert (told.draining, told.stopping, told.features) == (False, False, [])
    assert told.disk_total_bytes
    assert told.memory_total_bytes
    assert told.disk_free_ratio is not None
    assert 0 <= told.disk_free_ratio <= 1
    assert told.cpu_ratio is not None
    assert 0 <= told.cpu_ratio <= 1
    quiet = await sampled.after(60)
    assert (quiet.pushes_per_minute, quiet.push_p99_ms) == (0, None)


async def test_what_the_database_holds_is_estimated_every_five_minutes(live: Live) -> None:
    now_s = 0.0
    watch = HoldingsWatch(live.services, live.pool, clock=lambda: now_s)
    empty = await watch.look()
    assert (empty.ok, empty.records, empty.file_bytes) == (True, 0, 0)
    client = await live.connect()
    await client.push(*(change() for _ in range(20)))
    await execute(live.pool, "ANALYZE")
    now_s = REFRESH_S - 1
    assert (await watch.look()).records == 0
    now_s = REFRESH_S
    full = await watch.look()
    assert (full.spaces, full.records, full.files) == (1, 20, 0)
    assert full.storage_bytes
    assert full.storage_bytes > 0
    assert re.fullmatch("[0-9a-f]{16}", full.database_id or "")
    await live.pool.aclose(0)
    gone = await HoldingsWatch(live.services, live.pool).look()
    assert (gone.ok, gone.records) == (False, None)


async def identifiers(client: Client, record: str, user: str) -> list[str]:
    """All that must not leave, in the spellings that it has here."""
    known = claims(user)
    return [client.space, record, known["mailbox_id"], user, ISSUER, CLIENT_ID]


async def test_nothing_that_is_reported_names_anybody(database_url: str, tmp_path: Path) -> None:
    async with home_server(database_url, limits=QUICK) as home, stub_plane() as plane:
        known, record = [], change()
        alice, bob = Person("alice-the-first"), Person("bob-the-second")
        client = await home.live.join(alice)
        await client.push(record)
        known += await identifiers(client, str(record["id"]), alice.name)
        known += [alice.did, bob.did, database_url.rpartition("/")[2], str(tmp_path), "127.0.0.1"]
        peer = await home.peer()
        assert (await peer.error("?", {}))[0] == "method_not_found"
        measured = home.live.services.metrics.measured()
        known += [name for counts in measured.values() for name in counts if "." in name]
        assert len(known) > 11, "no peer was measured"
        named = {"finished_at": "2026-04-30T23:00:00Z", "folder": "/backups/secret", "digest": "feedbeef"}
        (tmp_path / LAST_BACKUP).write_text(json.dumps(named))
        known += ["/backups/secret", "feedbeef"]
        settings = settings_of(database_url, tmp_path, FEDERATION_DOMAIN="own.example")
        snapshot = ServerSnapshot(settings, OwnServer(home.live.services, home.live.pool), migration)
        async with running(plane, tmp_path, snapshot=snapshot.report) as one:
            await one.clock.wait_s()
            await one.clock.next_wait_s()
        report = plane.beats[0]["report"]
        assert (report["connections"], report["peers"]) == (2, 1)
        everything = b"".join(asked.body for asked in plane.asked).decode()
        assert [name for name in known if name.lower() in everything.lower()] == []
        texts = {key: value for key, value in report.items() if isinstance(value, str)}
        assert texts == {"database_id": report["database_id"], "database_kind": "external"}


async def test_features_are_words_of_one_table(database_url: str, tmp_path: Path) -> None:
    used = settings_of(
        database_url,
        tmp_path,
        FILE_STORAGE_BACKEND="s3",
        FILE_S3_ENDPOINT="s3.secret.example",
        FILE_S3_ACCESS_KEY="a",
        FILE_S3_SECRET_KEY="s",
        FILE_S3_BUCKET="bucket",
        WORKERS="2",
        NATS_URL="tls://nats.secret.example:1",
        REPLICA_DATABASE_URL="postgres://replica.secret.example/d",
        FEDERATION_TRUSTED_DOMAINS="peer.secret.example",
        FEDERATION_KEY_DISCOVERY="jwks",
        ADMIN_ADDR="127.0.0.1:1",
    )
    async with live_server(database_url) as live:
        report = await Sampled(used, OwnServer(live.services, live.pool)).after(0)
    assert report.features == ["files", "s3", "federation", "workers", "nats", "replicas", "admin"]
    assert b"secret" not in msgspec.json.encode(report)


# Draining by a plane, under open connections.


@asynccontextmanager
async def planned(reported: Reported, settings: Settings, directory: Path) -> AsyncIterator[Any]:
    """A plane, and the reporter of a server."""
    snapshot = ServerSnapshot(settings, reported, migration)
    served = Served(snapshot.report, reported.drain, reported.resume)
    async with stub_plane() as plane, running(plane, directory, served=served) as one:
        await one.clock.wait_s()
        yield plane, one


async def test_a_plane_drains_a_server_with_open_connections_and_lets_it_serve_again(
    live: Live, database_url: str, tmp_path: Path
) -> None:
    settings = settings_of(database_url, tmp_path)
    async with planned(OwnServer(live.services, live.pool), settings, tmp_path) as (plane, one):
        client, other = await live.connect("alice"), await live.connect("bob")
        pushed = await client.push(change())
        plane.desired = {"state": "draining"}
        await one.clock.next_wait_s()
        for each in (client, other):
            assert (await each.closed()).code == 1001
        assert live.services.draining
        await one.clock.next_wait_s()
        assert (plane.beats[-1]["report"]["draining"], plane.beats[-1]["report"]["connections"]) == (True, 0)
        plane.desired = {"state": "serving"}
        await one.clock.next_wait_s()
        back = await live.connect("alice")
        assert (await back.push(change()))["cursor"] > pushed["cursor"]
        await one.clock.next_wait_s()
        assert (plane.beats[-1]["report"]["draining"], plane.beats[-1]["report"]["connections"]) == (False, 1)


async def test_what_an_operator_drains_stays_drained_whatever_the_plane_says_again(
    live: Live, database_url: str, tmp_path: Path
) -> None:
    reported = OwnServer(live.services, live.pool)
    async with planned(reported, settings_of(database_url, tmp_path), tmp_path) as (plane, one):
        await one.clock.next_wait_s()
        await reported.drain()
        for _ in range(3):
            await one.clock.next_wait_s()
        assert live.services.draining
        assert plane.beats[-1]["report"]["draining"]


async def test_workers_are_reported_and_drained_as_one_server(database_url: str, tmp_path: Path) -> None:
    async with merged(database_url, tmp_path, QUICK) as found:
        reported = AllWorkers(MergedServer(Workers(lambda: found.living, 2, lambda: 0)))
        settings = settings_of(database_url, tmp_path, WORKERS="2")
        async with planned(reported, settings, tmp_path) as (plane, one):
            clients = [await worker.live.connect() for worker in found.workers]
            for client in clients:
                await client.push(change())
            await one.clock.next_wait_s()
            report = plane.beats[-1]["report"]
            assert (report["connections"], report["database_ok"], report["features"]) == (
                2,
                True,
                ["workers"],
            )
            assert re.fullmatch("[0-9a-f]{16}", report["database_id"])
            plane.desired = {"state": "draining"}
            await one.clock.next_wait_s()
            for client in clients:
                closed = await client.closed()
                assert isinstance(closed, Closed)
                assert closed.code == 1001
            plane.desired = {"state": "serving"}
            await one.clock.next_wait_s()
            assert not any(worker.live.services.draining for worker in found.workers)
            found.living.clear()
            assert await reported.holdings() is None
            assert not await reported.draining()


# The parts.


def test_rates_and_the_slowest_of_a_hundred() -> None:
    before = Counted(pushes=10, pulls=0, errors=5, push_seconds={0.001: 10, 0.01: 10, math.inf: 10})
    now = Counted(pushes=210, pulls=1, errors=4, push_seconds={0.001: 160, 0.01: 210, math.inf: 210})
    found = rates(before, now, 60)
    assert (found.pushes_per_minute, found.pulls_per_minute, found.errors_per_minute) == (200, 1, 0)
    assert found.push_p99_ms == 9.64  # 198 of 200: 48 of the 50 between 1 and 10 ms
    beyond = Counted(push_seconds={0.001: 0, math.inf: 1})
    assert rates(Counted(), beyond, 60).push_p99_ms == 1
    assert set(rates(Counted(), now, 0.5)) == {None}


def test_only_faults_of_the_server_are_errors() -> None:
    rpc: Values = {("push", "ok"): 5, ("push", "internal"): 2, ("pull", "forbidden"): 7}
    http: Values = {("/health", "503"): 3, ("/health", "200"): 9, ("other", "other"): 4}
    times = Histogram((0.1, 1.0))
    for took_s in (0.05, 0.5, 5.0):
        times.add(took_s)
    found = counted(
        [
            counter("less_sync_rpc_total", "", rpc, "method", "code"),
            counter("less_sync_http_requests_total", "", http, "route", "code"),
            histogram("less_sync_rpc_seconds", "", {("push",): times, ("pull",): times}, "method"),
        ]
    )
    assert (found.pushes, found.pulls, found.errors) == (7, 7, 5)
    assert found.push_seconds == {0.1: 1, 1.0: 2, math.inf: 3}


async def test_the_machine_says_what_is_left(tmp_path: Path) -> None:
    watch = HostWatch([tmp_path, tmp_path / "gone"])
    host = await watch.look()
    assert host.disk is not None
    assert 0 <= host.disk.free_ratio <= 1
    assert host.memory_total_bytes is not None
    assert host.memory_used_bytes is not None
    assert 0 < host.memory_used_bytes < host.memory_total_bytes
    later = await HostWatch([tmp_path / "made" / "later"]).look()
    assert later.disk is not None
    assert later.disk.total_bytes == host.disk.total_bytes
    assert fullest([Disk(100, 50), Disk(1000, 20), Disk(10, 10)]) == Disk(1000, 20)
    assert fullest([]) is None
    assert Disk(0, 0).free_ratio == 0


@pytest.mark.parametrize(
    ("python", "semver"),
    [
        ("0.1.0", "0.1.0"),
        ("1.2", "1.2.0"),
        ("1.2.3rc1", "1.2.3-rc.1"),
        ("1.2.3a2.dev4", "1.2.3-alpha.2.dev.4"),
        ("1.2.3.dev5+local", "1.2.3-dev.5"),
        ("01.2.3", "1.2.3"),
        ("x", "0.0.0"),
    ],
)
def test_a_version_has_the_form_that_planes_compare(python: str, semver: str) -> None:
    assert as_semver(python) == semver
    assert is_version(semver)


def test_who_registers(tmp_path: Path) -> None:
    settings = settings_of("postgres://db/sync", tmp_path, FLEET_NAME="n", FLEET_LABELS="a=b")
    who = identity("sync", settings.reporter)
    assert (who.name, who.kind, who.os, who.labels) == ("n", "sync", "linux", {"a": "b"})
    assert who.version == own_version()
    assert who.hostname
    minimal = settings_of("postgres://db/sync", tmp_path, FLEET_REPORT="minimal")
    assert identity("volume", minimal.reporter).hostname is None


async def test_a_table_that_is_locked_holds_up_a_look_for_a_while_and_no_client(live: Live) -> None:
    client = await live.connect()
    watch = HoldingsWatch(live.services, live.pool, question_s=0.2)
    async with live.pool.connection() as con, con.transaction():
        await con.execute("LOCK TABLE invitations IN ACCESS EXCLUSIVE MODE")
        looking = asyncio.create_task(watch.look())
        assert (await client.push(change()))["ok"]
        told = await looking
    assert (told.ok, told.storage_bytes) == (True, None)
    assert (await watch.look()).storage_bytes
