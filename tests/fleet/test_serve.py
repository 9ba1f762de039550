"""The plane as one program: admin listener, stop in order, workers, and what keeps it from starting."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from less_sync.bins.commands.fleet_serve import banner
from less_sync.bins.errors import CommandError
from less_sync.bins.fleet import Parts
from less_sync.bins.fleet_keys import kept_management_key, kept_secret_key
from less_sync.bins.settings.fleet import fleet_settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.client.kept_key import KeyFileError
from less_sync.fleet.plane import Plane
from less_sync.fleet.secrets import SecretBox
from tests.fleet.databases import execute
from tests.fleet.process import GIVEN, KEY, SECRET, admin, bearer, serving
from tests.sync.raw_http import connected, fetch

WEBHOOK = "INSERT INTO webhooks (id, url, events, secret) VALUES ($1, 'https://h', '{*}', $2)"


async def test_operators_and_their_tools_see_the_plane_at_the_admin_address(
    fleet_database_url: str, tmp_path: Path
) -> None:
    async with serving(fleet_database_url, tmp_path) as plane:
        assert (await fetch(plane.port, "GET", "/management/v1/health")).status == 200
        assert (await fetch(plane.port, "GET", "/nowhere", bearer(KEY))).status == 404
        alive = await admin(plane.admin_port, "/healthz")
        assert (alive.status, alive.body) == (200, b'{"status":"alive"}')
        ready = await admin(plane.admin_port, "/readyz")
        assert (ready.status, ready.body) == (200, b'{"status":"ready","database":"ok","draining":false}')
        told = await admin(plane.admin_port, "/metrics")
        lines = [line for line in told.body.decode().splitlines() if not line.startswith("#")]
        assert all('less_sync_role="fleet"' in line for line in lines)
        health = 'http_requests_total{less_sync_role="fleet",route="/management/v1/health",status="200"} 1.0'
        assert f"less_sync_fleet_{health}" in lines
        assert 'less_sync_fleet_agents{less_sync_role="fleet",status="active"} 0.0' in lines
        assert 'less_sync_fleet_webhook_due{less_sync_role="fleet"} 0.0' in lines
        assert not any("_created" in line for line in lines)
        for path in ("/drain", "/events", "/", "/console/console.js"):
            assert (await admin(plane.admin_port, path)).status == 404


async def test_metrics_count_the_fleet_and_what_was_answered(fleet_database_url: str, tmp_path: Path) -> None:
    agents = """INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version, status,
        heartbeat_interval_seconds, token_hash) SELECT gen_random_uuid(), gen_random_uuid(), 'a', 'sync',
        'linux', 'amd64', '1.0.0', status, 60, sha256(status::bytea) FROM unnest($1::text[]) status"""
    alert = """INSERT INTO alerts (id, kind, severity, subject_type, subject_id, title, status)
        VALUES (gen_random_uuid(), 'k', 'warning', 'agent', $1, 't', $2)"""
    await execute(fleet_database_url, agents, ["stale", "retired"])
    for number, status in enumerate(("open", "acknowledged", "resolved")):
        await execute(fleet_database_url, alert, str(number), status)
    async with serving(fleet_database_url, tmp_path) as plane:
        text = (await admin(plane.admin_port, "/metrics")).body.decode()
    assert re.findall(r'fleet_agents\{.*status="(\w+)"\} (\d)', text) == [
        ("active", "0"),
        ("stale", "1"),
        ("inactive", "0"),
        ("retired", "1"),
    ]
    assert 'less_sync_fleet_alerts_open{less_sync_role="fleet",severity="warning"} 2.0' in text


class Slow:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()

    def app(self, plane: Plane) -> ASGIApp:
        async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
            self.plane = plane
            self.client = scope["client"]
            self.asked.set()
            await self.answer.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        return answer


async def test_a_stop_refuses_what_is_new_and_ends_what_runs(fleet_database_url: str, tmp_path: Path) -> None:
    slow, finished = Slow(), asyncio.Event()

    async def work(no_more: asyncio.Event) -> None:
        await no_more.wait()
        await slow.answer.wait()  # the item in hand
        finished.set()

    parts = Parts(slow.app, lambda _plane: {"slow": work})
    async with serving(fleet_database_url, tmp_path, parts=parts) as plane:
        async with connected(plane.port) as under_way, connected(plane.port) as idle:
            under_way.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await slow.asked.wait()
            assert slow.client == under_way.writer.get_extra_info("sockname")
            plane.stop.set()
            assert await idle.ended() == b""
            with pytest.raises(ConnectionRefusedError):
                await fetch(plane.port, "GET", "/")
            ready = await admin(plane.admin_port, "/readyz")
            assert (ready.status, slow.plane.draining, plane.serving.done()) == (503, True, False)
            assert b'"status":"draining"' in ready.body
            slow.answer.set()
            assert (await under_way.receive()).status == 200
        await plane.ended()
        assert finished.is_set()


async def test_the_grace_period_bounds_requests_and_workers(fleet_database_url: str, tmp_path: Path) -> None:
    slow, cut = Slow(), asyncio.Event()

    async def deaf(_no_more: asyncio.Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut.set()

    parts = Parts(slow.app, lambda _plane: {"deaf": deaf})
    async with serving(fleet_database_url, tmp_path, parts=parts, SHUTDOWN_GRACE_SECONDS="1") as plane:
        async with connected(plane.port) as under_way:
            under_way.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            await slow.asked.wait()
            plane.stop.set()
            await plane.ended()
        assert cut.is_set()


async def test_a_worker_s_loop_that_ends_ends_the_plane_in_order(
    fleet_database_url: str, tmp_path: Path
) -> None:
    fail = asyncio.Event()

    async def broken(_no_more: asyncio.Event) -> None:
        await fail.wait()
        raise LookupError

    parts = Parts(workers=lambda _plane: {"broken": broken})
    async with serving(fleet_database_url, tmp_path, parts=parts) as plane:
        assert (await fetch(plane.port, "GET", "/management/v1/health")).status == 200
        fail.set()
        with pytest.raises(CommandError, match=r"^the worker broken ended unexpectedly"):
            await plane.ended()


async def test_secrets_that_no_key_opens_are_told_at_the_start(
    fleet_database_url: str, tmp_path: Path
) -> None:
    webhook, kid = "00000000-0000-4000-8000-000000000001", "k1"
    ours, other = SecretBox(bytes.fromhex(SECRET)), SecretBox(bytes(32))
    await execute(fleet_database_url, WEBHOOK, webhook, other.seal(b"s", f"webhooks.secret:{webhook}"))
    with pytest.raises(CommandError, match=r"^FLEET_SECRET_KEY does not open the stored secrets$"):
        async with serving(fleet_database_url, tmp_path):
            pass
    async with serving(fleet_database_url, tmp_path, FLEET_SECRET_KEY_PREVIOUS="00" * 32):
        pass
    await execute(
        fleet_database_url,
        "INSERT INTO signing_keys (kid, purpose, public_key, secret) VALUES ($1, 'token', $2, $3)",
        kid,
        bytes(32),
        ours.seal(b"s", f"signing_keys.secret:{kid}"),
    )
    async with serving(fleet_database_url, tmp_path) as plane:  # one table's do not open
        assert (await fetch(plane.port, "GET", "/management/v1/health")).status == 200


@pytest.mark.parametrize("keep", [kept_management_key, kept_secret_key])
def test_keys_are_made_once_for_nobody_else(keep: Callable[[Path], object], tmp_path: Path) -> None:
    first = keep(tmp_path / "fleet")
    assert keep(tmp_path / "fleet") == first
    (path,) = (tmp_path / "fleet").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="others may use"):
        keep(tmp_path / "fleet")
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(KeyFileError, match=path.name):
        keep(tmp_path / "fleet")


def test_the_banner_says_what_is_needed_next() -> None:
    lines = banner(fleet_settings({}), ListenAddress("127.0.0.1", 5380), ["less-sync"])
    here = Path("data/fleet").absolute()
    assert lines == [
        "the fleet plane listens on http://127.0.0.1:5380 in dev mode: with a database and keys of its own",
        f"data directory:  {here}",
        f"management key:  {here}/management.key",
        f"secret key:      {here}/secret.key (keep a copy)",
        "pages:           http://127.0.0.1:5380/admin/",
        "first operator:  less-sync fleet admin create alice",
        "enrol a server:  less-sync fleet enrol",
    ]


def test_the_banner_names_what_is_not_where_the_commands_look() -> None:
    lines = banner(fleet_settings({"DATA_DIR": "/srv/a b"}), ListenAddress("127.0.0.1", 6000), ["less-sync"])
    where = "--url http://127.0.0.1:6000 --data-dir '/srv/a b'"
    assert lines[-1] == f"enrol a server:  less-sync fleet enrol {where}"
    given = fleet_settings(
        {"DATABASE_URL": "postgres://h/d", **GIVEN, "FLEET_PUBLIC_URL": "https://f.example"}
    )
    assert banner(given, ListenAddress("0.0.0.0", 5380), ["less-sync"]) == [
        "the fleet plane listens on http://0.0.0.0:5380",
        "management key:  LESS_SYNC_FLEET_KEY tells it to the commands below",
        "pages:           https://f.example/admin/",
        "first operator:  less-sync fleet admin create alice --url https://f.example",
        "enrol a server:  less-sync fleet enrol --url https://f.example",
    ]
