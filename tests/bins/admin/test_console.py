"""What the console is told, who may ask for it, and what it may do."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import structlog

from less_sync.bins import logs
from less_sync.bins.admin.console import STREAMS_MAX, Console
from less_sync.bins.admin.figures import SHOWN, figures
from less_sync.bins.admin.metrics import Exposition
from less_sync.bins.admin.readiness import Readiness, Report
from less_sync.bins.admin.shown import OwnState
from less_sync.bins.own_spaces import OWN_SPACES
from less_sync.bins.supervisor import Supervisor
from less_sync.storage import PostgresSurveys
from less_sync.sync.growth import SLICES, SPACES_MAX, WINDOW_S, Grown, Growth
from less_sync.sync.limits import Limits
from tests.bins.admin.opened import TOKEN, Admin, Asked, admin
from tests.bins.test_server import until
from tests.live import TIMEOUT_S
from tests.sync.raw_http import fetch

LIMITS = Limits(drain_spread_s=600.0, delivery_probe_interval_s=600.0)


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[Admin]:
    async with admin(database_url, tmp_path, LIMITS) as opened:
        opened.listener.public_port_is_open()
        yield opened


@pytest.fixture(autouse=True)
def _level_is_put_back() -> Iterator[None]:
    before = logs.in_force.level
    yield
    logs.set_log_level(before)
    logs.in_force.warnings.clear()


class Watching:
    """An open console, read as a page reads it."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def head(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def next(self) -> Any:
        async with asyncio.timeout(TIMEOUT_S):
            while not (line := await self._reader.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
        return json.loads(line.removeprefix(b"data: "))

    async def end(self) -> bytes:
        async with asyncio.timeout(TIMEOUT_S):
            return await self._reader.read()


@asynccontextmanager
async def watching(running: Asked, **headers: str) -> AsyncIterator[Watching]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.address.port)
    lines = {"Host": running.host, **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    writer.write(f"GET /events HTTP/1.1\r\n{head}\r\n".encode())
    try:
        yield Watching(reader)
    finally:
        writer.close()


async def test_an_event_tells_all_that_is_shown_and_nothing_of_a_person(running: Admin) -> None:
    await running.live.settled(await running.live.connect("alice"))
    async with watching(running) as console:
        head = await console.head()
        assert b"content-type: text/event-stream" in head.lower()
        assert b"access-control" not in head.lower()
        told = await console.next()
    assert set(told) == {
        *("at", "version", "up_s", "ready", "log_level", "warnings", "tasks", "chores"),
        *("growing", "largest", "largest_ago_s", "largest_fault", "figures"),
    }
    assert told["ready"]["status"] == "ready"
    assert [{"kind": "client"}, 1] in told["figures"]["less_sync_connections"]
    assert "alice" not in json.dumps(told)
    assert "did:key" not in json.dumps(told)


async def test_pushes_are_told_by_space_while_somebody_looks_and_counted_by_nobody_else(
    running: Admin,
) -> None:
    alice = await running.live.connect("alice")
    await alice.push({"id": str(uuid4()), "expected_cursor": 0, "blob": b"y" * 7})
    metrics = running.live.services.metrics
    assert metrics.growth is None
    async with watching(running) as console:
        await console.next()
        await alice.push({"id": str(uuid4()), "expected_cursor": 0, "blob": b"x" * 100})
        await until(lambda: bool(metrics.growth and metrics.growth.top(1)))
        told = await console.next()
        while not told["growing"]:
            told = await console.next()
        [grown] = told["growing"]
        assert (grown["records"], grown["bytes"]) == (1, 100)
        while not told["largest"]:
            told = await console.next()
        assert told["largest_fault"] == ""
        assert told["largest"][0]["space"] == grown["space"]
    await until(lambda: metrics.growth is None)


async def test_a_ninth_console_is_refused_until_one_is_closed(running: Admin) -> None:
    streams = [watching(running) for _ in range(STREAMS_MAX)]
    consoles = [await stream.__aenter__() for stream in streams]
    for console in consoles:
        await console.next()
    response = await running.ask("GET", "/events")
    assert (response.status, json.loads(response.body)) == (503, {"error": "too many consoles are open"})
    for stream in streams:
        await stream.__aexit__(None, None, None)
    metrics = running.live.services.metrics
    await until(lambda: metrics.growth is None)
    async with watching(running) as console:
        assert (await console.next())["ready"]["status"] == "ready"


async def test_a_console_ends_with_the_listener(database_url: str, tmp_path: Path) -> None:
    async with admin(database_url, tmp_path, LIMITS) as opened:
        stream = watching(opened)
        console = await stream.__aenter__()
        await console.next()
    assert (await console.end()).endswith(b"0\r\n\r\n")
    await stream.__aexit__(None, None, None)


async def test_the_page_is_open_to_who_reaches_it_and_what_it_shows_needs_the_token_elsewhere(
    database_url: str, tmp_path: Path
) -> None:
    async with admin(database_url, tmp_path, LIMITS, address="0.0.0.0:0") as opened:
        page = await opened.ask("GET", "/")
        assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in (page.header("content-security-policy") or "")
        for path in re.findall(r'(?:href|src)="(/[^"]+)"', page.body.decode()):
            assert (await opened.ask("GET", path)).status == (401 if path == "/metrics" else 200), path
        assert (await opened.ask("GET", "/events")).status == 401
        async with watching(opened, X_Admin_Token=TOKEN) as console:
            assert (await console.next())["version"]


@pytest.mark.parametrize("path", ["/console/../routes.py", "/console/", "/console/nowhere.js", "/console"])
async def test_nothing_but_the_files_of_the_page_is_served(running: Admin, path: str) -> None:
    assert (await running.ask("GET", path)).status == 404


async def test_the_own_page_acts_with_the_token_and_that_of_another_port_does_not(running: Admin) -> None:
    own = f"http://{running.host}"
    response = await running.ask("POST", "/log-level/debug", x_admin_token=TOKEN, origin=own)
    assert (response.status, json.loads(response.body)) == (200, {"log_level": "debug"})
    assert logs.in_force.level == "debug"
    for origin in ("http://127.0.0.1:1", f"https://{running.host}", "null", own + "/"):
        response = await running.ask("POST", "/log-level/trace", x_admin_token=TOKEN, origin=origin)
        assert response.status == 403
    assert (await running.ask("POST", "/log-level/trace", origin=own)).status == 401
    assert (await running.ask("POST", "/log-level/loud", x_admin_token=TOKEN)).status == 404
    assert logs.in_force.level == "debug"


async def test_the_last_warnings_and_the_periodic_tasks_are_told(running: Admin) -> None:
    logs.configure_logging(level="info", form="text")
    try:
        structlog.get_logger("test").info("nothing of note")
        structlog.get_logger("test").warning("the disk is slow", disk="a")
        running.live.services.metrics.chore_ended("maintenance", failed=True)
        async with watching(running) as console:
            told = await console.next()
    finally:
        structlog.reset_defaults()
    assert [(one["level"], one["msg"], one.get("disk")) for one in told["warnings"]] == [
        ("warn", "the disk is slow", "a")
    ]
    [chore] = told["chores"]
    assert (chore["name"], chore["runs"], chore["failures"]) == ("maintenance", 1, 1)
    assert "delivery watchdog" in told["tasks"]


async def test_every_shown_family_is_one_of_the_metrics(running: Admin) -> None:
    text = (await running.ask("GET", "/metrics")).body.decode()
    names = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)}
    assert not SHOWN - names
    async with watching(running) as console:
        assert set((await console.next())["figures"]) <= SHOWN
    assert figures([]) == {}


def test_growth_is_that_of_the_last_minute_and_names_the_most_first() -> None:
    now = [0.0]
    growth = Growth(clock=lambda: now[0])
    first, second = UUID(int=1), UUID(int=2)
    growth.add(first, 1, 10)
    now[0] = WINDOW_S / SLICES
    growth.add(first, 2, 5)
    growth.add(second, 1, 20)
    assert growth.top(9) == [Grown(second, 1, 20), Grown(first, 3, 15)]
    assert growth.top(1) == [Grown(second, 1, 20)]
    now[0] = WINDOW_S + 1
    assert growth.top(9) == [Grown(second, 1, 20), Grown(first, 2, 5)]
    now[0] = 3 * WINDOW_S
    assert growth.top(9) == []


def test_growth_tells_no_more_spaces_apart_than_it_has_room_for() -> None:
    growth = Growth(clock=lambda: 0.0)
    for number in range(SPACES_MAX + 5):
        growth.add(UUID(int=number), 1, 1)
    growth.add(UUID(int=0), 1, 1)
    assert len(growth.top(SPACES_MAX * 2)) == SPACES_MAX
    assert growth.top(1) == [Grown(UUID(int=0), 2, 2)]


async def test_a_get_on_the_public_port_finds_no_console(running: Admin) -> None:
    assert (await fetch(running.live.port, "GET", "/events")).status == 401


class Broken(Readiness):
    """Fails when it is asked for the second time."""

    asked = 0

    async def report(self) -> Report:
        self.asked += 1
        if self.asked > 1:
            raise ZeroDivisionError
        return await super().report()


async def test_what_was_told_before_does_not_pass_for_now_when_gathering_fails(running: Admin) -> None:
    live, delivery = running.live, running.listener.watchdog.delivery
    readiness = Broken(live.services, delivery)
    pool, lanes = live.pool, live.lanes
    metrics = Exposition(live.services, pool=pool, lanes=lanes, delivery=delivery, data_dir=Path("nowhere"))
    surveys = PostgresSurveys(pool, left_out=OWN_SPACES)
    async with Supervisor() as vital:
        console = Console(OwnState(live.services, metrics, readiness, surveys, vital))
        events = console.events()
        assert (await anext(events)).startswith(b"data: ")
        with pytest.raises(ZeroDivisionError):
            await anext(events)
        await console.aclose()
