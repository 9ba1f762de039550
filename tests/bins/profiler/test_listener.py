"""The profiler's listener, over real sockets: what it answers, whom it refuses, and what it never shows."""

import asyncio
import re
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator

import pytest

from less_sync.bins.errors import CommandError
from less_sync.bins.profiler.listener import CONNECTIONS_MAX, HEAD_BYTES_MAX, profiler
from less_sync.bins.settings.parts import ListenAddress
from tests.bins.environments import problem
from tests.sync.raw_http import Response, connected

ROOT = "/debug/pprof/"
SECRET = "hunter2"


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with profiler(ListenAddress("127.0.0.1", 0)) as address:
        yield address.port


async def ask(
    port: int, target: str, *, method: str = "GET", headers: str = "Host: 127.0.0.1\r\n"
) -> Response:
    async with connected(port) as connection:
        connection.send(f"{method} {target} HTTP/1.1\r\n{headers}\r\n".encode())
        response = await connection.receive()
        assert await connection.ended() == b""
        return response


async def test_the_index_names_every_route_and_other_paths_are_404(port: int) -> None:
    index = await ask(port, ROOT)
    assert (index.status, index.header("content-type")) == (200, "text/plain; charset=utf-8")
    for line in index.body.decode().splitlines():
        path = line.split()[0].partition("?")[0]
        if path.startswith("/") and path != f"{ROOT}heap":
            assert (await ask(port, f"{path}?seconds=1")).status == 200
    for other in ("/", "/debug/pprof", f"{ROOT}cmdline", f"{ROOT}heap/", "/health", "//debug/pprof/"):
        assert (await ask(port, other)).status == 404
    assert (await ask(port, ROOT, method="POST")).status == 405


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Host: localhost:6060\r\n", 200),
        ("Host: LOCALHOST\r\n", 200),
        ("Host: [::1]:6060\r\n", 200),
        ("Host: 127.0.0.9:1\r\nSec-Fetch-Site: none\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: 10.0.0.1\r\n", 403),
        ("Host: 127.0.0.1.evil.example\r\n", 403),
        ("", 403),
        ("Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("Host: 127.0.0.1\r\nOrigin: null\r\n", 403),
        ("Host: evil.example\r\nHost: 127.0.0.1\r\n", 400),
        ("Host 127.0.0.1\r\n", 400),
    ],
)
async def test_no_web_page_may_ask(port: int, headers: str, status: int) -> None:
    assert (await ask(port, ROOT, headers=headers)).status == status


@pytest.mark.parametrize("seconds", ["0", "61", "", "x", "1.5", "-1", "99999999999", "٣"])
async def test_a_profile_takes_one_second_to_sixty(port: int, seconds: str) -> None:
    target = f"{ROOT}profile?seconds={'%D9%A3' if seconds == '٣' else seconds}"
    assert (await ask(port, target)).status == 400


async def test_one_profile_is_taken_at_a_time_and_ends_with_the_listener() -> None:
    async with profiler(ListenAddress("127.0.0.1", 0)) as address, connected(address.port) as first:
        first.send(f"GET {ROOT}profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        async with asyncio.timeout(10):
            while b"Sampler.run" not in (await ask(address.port, f"{ROOT}threads")).body:  # noqa: ASYNC110  # a thread
                await asyncio.sleep(0.005)
        busy = await ask(address.port, f"{ROOT}profile")
        assert (busy.status, busy.body) == (503, b"another profile is being taken\n")
        assert (await ask(address.port, f"{ROOT}heap")).status == 503
        assert (await ask(address.port, f"{ROOT}tasks")).status == 200
    with pytest.raises(ConnectionRefusedError):
        await ask(address.port, ROOT)


async def test_a_profile_that_nobody_waits_for_ends_and_another_can_be_taken(port: int) -> None:
    pace_s = sys.getswitchinterval()
    for _ in range(2):
        async with connected(port) as first:
            first.send(f"GET {ROOT}profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            async with asyncio.timeout(10):
                while b"Sampler.run" not in (await ask(port, f"{ROOT}threads")).body:  # noqa: ASYNC110  # a thread
                    await asyncio.sleep(0.005)
        async with asyncio.timeout(10):
            while (await ask(port, f"{ROOT}profile?seconds=1")).status == 503:  # noqa: ASYNC110  # a thread
                await asyncio.sleep(0.005)
    assert sys.getswitchinterval() == pace_s


async def waits_for(value: str, event: asyncio.Event) -> str:
    await event.wait()
    return value


async def test_tasks_are_shown_through_what_they_wait_for_and_equal_ones_once(port: int) -> None:
    event = asyncio.Event()
    tasks = [asyncio.create_task(waits_for(SECRET, event), name=SECRET) for _ in range(3)]
    await asyncio.sleep(0)
    shown = (await ask(port, f"{ROOT}tasks")).body.decode()
    event.set()
    await asyncio.gather(*tasks)
    block = next(block for block in shown.split("\n\n") if ":waits_for:" in block)
    title, *places = block.strip().splitlines()
    assert title == "3 tasks"
    assert [place.strip().rpartition(":")[0] for place in places] == [
        f"{__name__}:waits_for",
        "asyncio.locks:Event.wait",
    ]
    assert SECRET not in shown


@pytest.fixture
def untraced() -> Iterator[None]:
    assert not tracemalloc.is_tracing()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("untraced")
async def test_the_heap_is_traced_from_the_first_request_on_and_shows_places_alone(port: int) -> None:
    assert (await ask(port, f"{ROOT}heap")).body.startswith(b"tracing of allocations has begun")
    kept = [SECRET * n for n in range(1, 5000)]
    shown = (await ask(port, f"{ROOT}heap")).body.decode()
    found = re.fullmatch(rf"\d+ bytes, (\d+) blocks: {re.escape(__name__)}:\d+", shown.splitlines()[1])
    assert found is not None
    assert int(found[1]) >= len(kept)  # the list itself lies there too, and what the garbage collector left
    assert SECRET not in shown
    assert "/" not in shown
    assert len(kept) == 4999


async def test_connections_and_heads_are_bounded(port: int) -> None:
    async with connected(port) as talker:
        talker.send(b"GET /" + b"x" * (2 * HEAD_BYTES_MAX) + b" HTTP/1.1\r\n\r\n")
        assert await talker.ended() == b""
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    async with asyncio.timeout(10):
        while True:  # until the listener has taken them all up
            async with connected(port) as one_more:
                one_more.send(f"GET {ROOT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                if await one_more.ended() == b"":
                    break
    for _, writer in silent:
        writer.close()
    async with asyncio.timeout(10):
        while True:
            async with connected(port) as one_more:
                one_more.send(f"GET {ROOT} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                if (await one_more.ended()).startswith(b"HTTP/1.1 200 "):
                    break


async def test_an_address_that_is_taken_or_of_all_machines_ends_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(CommandError) as caught:
            async with profiler(ListenAddress("127.0.0.1", taken.getsockname()[1])):
                pytest.fail("it listens")
    assert str(caught.value).startswith("Address already in use (os error 98): cannot listen on 127.0.0.1:")
    assert str(caught.value).endswith("choose another address with --pprof-addr or PPROF_ADDR")
    with pytest.raises(CommandError, match=r"^PPROF_ADDR must be a loopback address$"):
        async with profiler(ListenAddress("0.0.0.0", 0)):
            pytest.fail("it listens")


def test_the_setting_is_a_loopback_address_or_off() -> None:
    assert problem(PPROF_ADDR="0.0.0.0:6060") == "PPROF_ADDR must be a loopback address"
    assert problem(PPROF_ADDR=":6060") == "PPROF_ADDR must be a loopback address"
    assert problem(PPROF_ADDR="6060") == 'invalid PPROF_ADDR "6060": invalid socket address syntax'
