"""The routes of the admin listener over HTTP, and its bounds."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from less_sync.bins.admin.listener import CONNECTIONS_MAX
from less_sync.bins.admin.metrics import CONTENT_TYPE
from less_sync.sync.limits import Limits
from tests.bins.admin.opened import TOKEN, Admin, admin
from tests.bins.admin.scrape import scrape
from tests.bins.test_server import until
from tests.live import TIMEOUT_S
from tests.sync.raw_http import connected, fetch
from tests.wire.client import Closed

LIMITS = Limits(drain_spread_s=600.0, delivery_probe_interval_s=600.0)


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin(database_url, tmp_path, LIMITS) as opened:
        opened.listener.public_port_is_open()
        yield opened


async def test_what_can_be_read_is_read_without_a_token(running: Admin) -> None:
    response = await running.ask("GET", "/healthz", host="localhost:1")
    assert (response.status, response.body) == (200, b'{"status":"alive"}')
    assert (await running.ask("GET", "/healthz", host="evil.example:1")).status == 401
    response = await running.ask("GET", "/metrics")
    assert (response.status, response.header("content-type")) == (200, CONTENT_TYPE)
    assert scrape(response.body).value("less_sync_connections", kind="client") == 0
    response = await running.ask("HEAD", "/metrics")
    assert (response.status, response.header("content-type"), response.body) == (200, CONTENT_TYPE, b"")


async def test_readyz_tells_all_parts_and_that_it_is_ready(running: Admin) -> None:
    await until(lambda: running.listener.watchdog.delivery.proofs > 0)
    status, body = await running.ready()
    lag_s, age_s = body["delivery"].pop("lag_s"), body["delivery"].pop("age_s")
    assert (status, body) == (
        200,
        {
            "status": "ready",
            "database": "ok",
            "delivery": {"status": "ok"},
            "draining": False,
            "sessions": 0,
        },
    )
    assert 0 < lag_s < TIMEOUT_S
    assert 0 <= age_s < TIMEOUT_S


async def test_readyz_says_starting_until_the_public_port_is_open(database_url: str, tmp_path: Path) -> None:
    async with admin(database_url, tmp_path, LIMITS) as opened:
        status, body = await opened.ready()
        assert (status, body["status"], body["reason"]) == (
            503,
            "starting",
            "the public port is not open yet",
        )


async def test_a_wrong_method_is_405_an_unknown_path_404_and_nothing_is_allowed_to_other_sites(
    running: Admin,
) -> None:
    for method, path, status, allow in (
        ("POST", "/metrics", 405, "GET, HEAD"),
        ("DELETE", "/readyz", 405, "GET, HEAD"),
        ("GET", "/drain", 405, "POST, DELETE"),
        ("OPTIONS", "/drain", 405, "POST, DELETE"),
        ("POST", "/", 404, None),
        ("GET", "/api/v1/ws", 404, None),
        ("POST", "/drain/", 404, None),
    ):
        response = await running.ask(method, path, origin="http://evil.example")
        assert (response.status, response.header("allow")) == (status, allow), (method, path)
        assert "error" in json.loads(response.body)
        assert not [name for name, _ in response.headers if name.startswith("access-control")]


async def test_an_action_without_token_or_own_host_changes_nothing(running: Admin) -> None:
    for headers, status in (
        ({}, 401),
        ({"x_admin_token": "wrong"}, 401),
        ({"x_admin_token": TOKEN, "host": f"evil.example:{running.listener.address.port}"}, 403),
        ({"x_admin_token": TOKEN, "origin": "http://evil.example"}, 403),
        ({"x_admin_token": TOKEN, "sec_fetch_site": "cross-site"}, 403),
    ):
        for method in ("POST", "DELETE"):
            response = await running.ask(method, "/drain", **headers)
            assert response.status == status
    assert not running.live.services.draining


async def test_a_drain_closes_sessions_refuses_new_ones_and_can_be_taken_back(running: Admin) -> None:
    first, second = await running.live.connect("alice"), await running.live.connect("bob")
    await running.live.settled(first)
    await running.live.settled(second)
    assert await running.act("POST") == (202, {"state": "draining", "sessions": 1})
    assert await first.closed() == Closed(1001, "server shutting down")
    assert await running.act("POST") == (202, {"state": "draining", "sessions": 1})
    status, body = await running.ready()
    assert (status, body["status"], body["draining"]) == (503, "draining", True)
    assert (await fetch(running.live.port, "GET", "/health")).status == 503
    assert await running.act("DELETE") == (200, {"state": "serving", "sessions": 1})
    assert await running.act("DELETE") == (200, {"state": "serving", "sessions": 1})
    await running.live.settled(second)
    await running.live.settled(await running.live.connect("alice"))
    assert (await running.ready())[0] == 200


async def test_a_stop_cannot_be_taken_back(running: Admin) -> None:
    running.live.services.sessions.refuse()
    assert await running.act("DELETE") == (409, {"state": "stopping", "sessions": 0})
    assert await running.act("POST") == (200, {"state": "stopping", "sessions": 0})
    status, body = await running.ready()
    assert (status, body["status"], body["reason"]) == (503, "draining", "the server is stopping")


async def test_an_address_that_others_reach_wants_the_token_for_everything(
    database_url: str, tmp_path: Path
) -> None:
    async with admin(database_url, tmp_path, LIMITS, address="0.0.0.0:0") as opened:
        opened.listener.public_port_is_open()
        own = f"127.0.0.1:{opened.listener.address.port}"
        for path in ("/healthz", "/readyz", "/metrics", "/nowhere"):
            assert (await opened.ask("GET", path)).status == 401
        for path, status in (("/healthz", 200), ("/metrics", 200), ("/nowhere", 404)):
            assert (await opened.ask("GET", path, x_admin_token=TOKEN)).status == status
        assert (await opened.ask("POST", "/drain", x_admin_token=TOKEN, host=own)).status == 200
        assert (await opened.ask("POST", "/drain", x_admin_token=TOKEN)).status == 403


@pytest.mark.parametrize("begun", [b"", b"GET /readyz HTTP/1.1\r\nHos"])
async def test_connections_that_only_occupy_a_place_make_room_for_who_asks(
    running: Admin, begun: bytes
) -> None:
    async with AsyncExitStack() as stack:
        port = running.listener.address.port
        occupants = [await stack.enter_async_context(connected(port)) for _ in range(2 * CONNECTIONS_MAX)]
        for one in occupants:
            one.send(begun)
        for one in occupants[:CONNECTIONS_MAX]:
            assert await one.ended() == b""
        assert (await running.ready())[0] == 200


async def test_a_head_beyond_8_kib_is_refused_and_a_body_is_not_waited_for(running: Admin) -> None:
    assert (await running.ask("GET", "/healthz", x_long="x" * 9000)).status == 431
    response = await running.ask("POST", "/drain", content_length="99999999999", x_admin_token="wrong")
    assert response.status == 401
    assert response.header("connection") == "close"


async def test_the_watchdogs_sessions_are_nobody_elses(running: Admin) -> None:
    delivery = running.listener.watchdog.delivery
    await until(lambda: delivery.proofs > 0)
    sessions = running.live.services.sessions
    assert (len(sessions), sessions.unauthenticated) == (0, 0)
    assert await running.act("POST") == (200, {"state": "draining", "sessions": 0})
    response = await running.ask(
        "GET",
        "/canary",
        connection="Upgrade",
        upgrade="websocket",
        sec_websocket_key="AAAAAAAAAAAAAAAAAAAAAA==",
        sec_websocket_version="13",
        sec_websocket_protocol="less-rpc-v1",
    )
    assert response.status == 404
