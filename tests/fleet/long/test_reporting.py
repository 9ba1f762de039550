"""Processes that report: when they begin, what they say last, and that their clients notice nothing of it."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from less_sync.bins.reporting.server import OwnServer
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.reporter import Served
from less_sync.fleet.reporter.state import STATE_FILE
from tests.bins.admin.scrape import scrape
from tests.bins.test_server import push, signed_in
from tests.cluster.node import said, until, workers_of
from tests.conftest import DatabaseServer
from tests.fleet.reported import running
from tests.fleet.stub_plane import Asked, Behaviour, StubPlane, hang, hang_up, stub_plane
from tests.fleet.test_reported_server import QUICK, Sampled, settings_of
from tests.live import Live, live_server
from tests.sync.raw_http import fetch
from tests.sync.session.test_session import change
from tests.volume.cluster import Cluster
from tests.volume.raw_http import request
from tests.wire.client import Closed
from tests.wire.process import ServerProcess

TIMEOUT_S = 60.0
TOKEN = "the-token-of-the-operator"
WEEK_S = 7 * 86_400


@pytest.fixture
async def plane() -> AsyncIterator[StubPlane]:
    async with stub_plane() as found:
        found.interval_s = 5
        yield found


def told(plane: StubPlane, **more: str) -> dict[str, str]:
    """The settings of a server that reports there."""
    return {"FLEET_URL": plane.url, "FLEET_ENROLMENT_TOKEN": "lse_x", **more}


@asynccontextmanager
async def reporting(
    plane: StubPlane, database_url: str, data_dir: Path, **more: str
) -> AsyncIterator[ServerProcess]:
    """`less-sync serve --dev` that has sent its first heartbeat."""
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(data_dir), "ADMIN_ADDR": "", **told(plane)}
    async with ServerProcess(settings | more, ("--dev",)) as server:
        await plane.until(lambda: plane.beats)
        yield server


async def exchange(server: ServerProcess, data_dir: Path) -> None:
    """One client that is served."""
    client = await signed_in(server, data_dir)
    assert await push(client, str(uuid4()))
    await client.hangup(TIMEOUT_S)


async def test_a_server_reports_and_says_last_that_it_stops_before_anybody_is_sent_away(
    plane: StubPlane, database_url: str, tmp_path: Path
) -> None:
    answer = asyncio.Event()

    async def withhold(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await answer.wait()
        await plane.usual(asked, writer)

    async with reporting(plane, database_url, tmp_path) as server:
        client = await signed_in(server, tmp_path)
        await plane.until(lambda: plane.beats[-1]["report"]["connections"] == 1)
        plane.next.append(withhold)
        server.signal(signal.SIGTERM)
        await plane.until(lambda: plane.beats[-1]["report"]["stopping"])
        assert await push(client, str(uuid4())), "served while the plane is told"
        answer.set()
        assert await client.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        assert await server.wait(TIMEOUT_S) == 0
    assert [beat["report"]["stopping"] for beat in plane.beats[:-1]].count(True) == 0
    assert len(plane.registrations) == 1
    assert {beat["report"]["database_kind"] for beat in plane.beats} == {"external"}
    assert plane.beats[0]["report"]["migration"] > 100
    assert [line for line in server.output if "lsa_" in line or "lse_" in line] == []


@pytest.mark.parametrize("behaviour", [hang, hang_up])
async def test_a_plane_that_is_gone_holds_up_no_stop(
    behaviour: Behaviour, plane: StubPlane, database_url: str, tmp_path: Path
) -> None:
    async with reporting(plane, database_url, tmp_path) as server:
        plane.always = behaviour
        asked = len(plane.asked)
        await plane.until(lambda: len(plane.asked) > asked)
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 0
    assert said(server, "server stopped")
    assert said(server, "the fleet plane was not told that this server stops")


async def test_a_second_server_of_one_directory_waits_and_serves(
    plane: StubPlane, database_url: str, tmp_path: Path
) -> None:
    async with reporting(plane, database_url, tmp_path):
        settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "ADMIN_ADDR": "", **told(plane)}
        async with ServerProcess(settings, ("--dev",)) as second:
            await until(lambda: said(second, "another process of this data directory"))
            await exchange(second, tmp_path)
    assert len({beat["boot_id"] for beat in plane.beats}) == 1


async def test_a_damaged_state_or_a_lack_of_tokens_keeps_nobody_from_being_served(
    plane: StubPlane, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / STATE_FILE).write_text("{")
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "ADMIN_ADDR": "", **told(plane)}
    async with ServerProcess(settings, ("--dev",)) as server:
        await until(lambda: said(server, "this server does not report to its fleet plane"))
        assert said(server, "is damaged")
        await exchange(server, tmp_path)
    (tmp_path / STATE_FILE).unlink()
    async with ServerProcess({**settings, "FLEET_ENROLMENT_TOKEN": ""}, ("--dev",)) as server:
        await until(lambda: said(server, "FLEET_ENROLMENT_TOKEN is not set"))
        await exchange(server, tmp_path)
    assert plane.asked == []


async def test_what_metrics_say_of_it(plane: StubPlane, database_url: str, tmp_path: Path) -> None:
    plane.desired = {"state": "draining", "version": "9.9.9"}
    async with reporting(
        plane, database_url, tmp_path, ADMIN_ADDR="127.0.0.1:0", ADMIN_TOKEN=TOKEN
    ) as server:
        [line] = said(server, "for operators:")
        port = int(line.rstrip("/").rpartition(":")[2])
        await until(lambda: said(server, "the fleet plane drains this server"))
        found = scrape((await fetch(port, "GET", "/metrics", f"X-Admin-Token: {TOKEN}\r\n")).body)
        assert found.value("less_sync_reporter_connected") == 1
        assert found.value("less_sync_reporter_heartbeats_total") == 1
        assert found.value("less_sync_reporter_failures_total") == 0
        assert found.value("less_sync_reporter_desired_version", version="9.9.9") == 1
        ready = await fetch(port, "GET", "/readyz", f"X-Admin-Token: {TOKEN}\r\n")
        assert (ready.status, json.loads(ready.body)["status"]) == (503, "draining")
        plane.desired = {"state": "serving", "version": "9.9.9"}
        await until(lambda: said(server, "the fleet plane lets this server serve again"))
        await exchange(server, tmp_path)


async def test_workers_are_one_server_to_a_plane(plane: StubPlane, database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "ADMIN_ADDR": "", **told(plane)}
    quick = {"LIMIT_DRAIN_SPREAD_S": "0.1"}
    async with ServerProcess(settings | quick, ("--dev", "--workers", "2")) as server:
        await plane.until(lambda: plane.beats)
        clients = {f"user{n}": await signed_in(server, tmp_path, f"user{n}") for n in range(6)}
        for user, client in clients.items():
            await push(client, str(uuid4()), user)
        await plane.until(lambda: plane.beats[-1]["report"]["connections"] == 6)
        report = plane.beats[-1]["report"]
        assert (report["features"], report["database_ok"]) == (["dev", "files", "workers"], True)
        assert report["pushes_per_minute"] > 0
        assert len(report["database_id"]) == 16
        plane.desired = {"state": "draining"}
        for client in clients.values():
            assert await client.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        # One that comes later drains as well.
        victim = workers_of(server)[0]
        victim.kill()
        await until(lambda: said(server, "a worker is ready"))
        await plane.until(lambda: plane.beats[-1]["report"]["draining"])
        plane.desired = {"state": "serving"}
        await until(lambda: said(server, "the fleet plane lets this server serve again"))
        await exchange(server, tmp_path)
        server.signal(signal.SIGTERM)
        await plane.until(lambda: plane.beats[-1]["report"]["stopping"])
        assert await server.wait(TIMEOUT_S) == 0
    assert len({beat["boot_id"] for beat in plane.beats}) == 1
    assert len(plane.registrations) == 1


async def test_a_volume_server_reports(plane: StubPlane, tmp_path: Path) -> None:
    def life() -> None:
        variables = told(plane, FLEET_NAME="shelf", BACKUP_INTERVAL_SECONDS="60")
        with Cluster(tmp_path, "ours", variables=variables) as cluster:
            wait(lambda: plane.beats)
            cluster.allocate(3)
            (server,) = cluster.servers
            assert request(server.admin, "PUT", "/3,0100000001", body=os.urandom(1000)).status == 201
            wait(lambda: (plane.beats[-1]["report"]["files"] or 0) == 1)
            assert server.stop() == 0

    loop = asyncio.get_running_loop()

    def wait(condition: Any) -> None:
        asyncio.run_coroutine_threadsafe(plane.until(condition), loop).result()

    await asyncio.to_thread(life)
    (registration,) = plane.registrations
    assert (registration.json["name"], registration.json["kind"]) == ("shelf", "volume")
    report = plane.beats[-1]["report"]
    assert report["stopping"]
    assert list(report) == list(Report.__struct_fields__)
    assert report["storage_bytes"] >= report["file_bytes"] >= 1000
    assert (report["backup_interval_seconds"], report["features"]) == (60, [])
    assert {name for name, value in report.items() if value is None} == {
        *("spaces", "records", "database_id", "peers", "pushes_per_minute", "pulls_per_minute"),
        *("push_p99_ms", "database_ok", "database_kind", "migration", "backup_age_seconds"),
    }
    assert "3,0100000001" not in json.dumps(plane.beats)


async def test_a_volume_server_with_senseless_settings_does_not_start(tmp_path: Path) -> None:
    def life() -> None:
        with Cluster(tmp_path, "ours") as cluster:
            (server,) = cluster.servers
            server.stop()
            cluster.variables["FLEET_URL"] = "http://fleet.example"
            server._variables["FLEET_URL"] = "http://fleet.example"
            server.begin()
            assert server.wait() == 1
            assert "FLEET_URL must be https://" in server.log_tail()

    await asyncio.to_thread(life)


async def answers(live: Live) -> list[Any]:
    """What a client is told, ids that are random left out."""
    client = await live.connect("alice")
    pushed = [
        await client.push(change(str(n).rjust(8, "0") + "-0000-4000-8000-000000000000")) for n in range(20)
    ]
    pulled = await client.pull()
    refused = await client.error("push", {})
    return [pushed, pulled, refused]


@pytest.fixture
def other_database_url(database_server: DatabaseServer, database_template: str) -> Iterator[str]:
    """As `database_url`, for a second server."""
    name = f"{database_server.run}other"
    try:
        yield database_server.create(name, template=database_template)
    finally:
        database_server.drop(name)


async def test_after_a_week_without_its_plane_a_server_answers_as_one_that_has_none(
    database_url: str, other_database_url: str, tmp_path: Path
) -> None:
    async with stub_plane() as gone:
        pass
    async with live_server(other_database_url, QUICK) as live:
        expected = await answers(live)
    async with live_server(database_url, QUICK) as live:
        reported = OwnServer(live.services, live.pool)
        sampled = Sampled(settings_of(database_url, tmp_path), reported)
        served = Served(sampled.snapshot.report, reported.drain, reported.resume)
        async with running(gone, tmp_path, served=served) as one:
            await one.clock.wait_s()
            tries = 0
            while one.clock.now_s < WEEK_S / 2:
                await one.clock.next_wait_s()
                tries += 1
            one.clock.go()
            assert await answers(live) == expected
            await one.clock.wait_s()
            while one.clock.now_s < WEEK_S:
                await one.clock.next_wait_s()
                tries += 1
            assert tries > WEEK_S / 300
            assert len(one.log.of("warning")) == 1
            assert one.reporter.standing.failed == tries + 2
