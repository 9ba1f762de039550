"""A server of several processes: starting, signals, and workers that end or are replaced."""

import asyncio
import base64
import json
import signal
import socket
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import cbor2
import pytest
from websockets.exceptions import InvalidState

from less_sync.bins.dev import DevIssuer, dev_start_secret
from tests.bins.commands import run_less_sync
from tests.bins.test_server import push, signed_in
from tests.cluster.node import all_of, connections, environment_of, node, said, until, until_gone, workers_of
from tests.sync.raw_http import connected, fetch
from tests.wire.client import Closed, Socket, open_socket
from tests.wire.process import ServerProcess

TIMEOUT_S = 60.0
GOING = Closed(1001, "server shutting down")
CLIENTS = 40


async def everybody(data_dir: Path, running: ServerProcess, number: int = CLIENTS) -> list[Socket]:
    """Clients of several people: a person may have so many connections only."""
    return [await signed_in(running, data_dir, person(k)) for k in range(number)]


def directories_of(running: ServerProcess) -> set[Path]:
    """Where the admin sockets of the workers lie."""
    paths = [one.laddr for worker in workers_of(running) for one in worker.net_connections("unix")]
    return {Path(path).parent for path in paths if path.endswith(".sock")}


def person(number: int) -> str:
    return f"user{number % 8}"


async def test_two_workers_serve_one_address_and_know_the_same_people(
    database_url: str, tmp_path: Path
) -> None:
    secret = "a-secret-of-the-operators"
    async with node(tmp_path, DATABASE_URL=database_url, ADMIN_TOKEN=secret) as running:
        first, second = workers_of(running)
        assert len(said(running, "server listening")) == 1
        assert len(said(running, "less-sync listens on http://")) == 1
        assert len(said(running, "start page:")) == 1
        clients = await everybody(tmp_path, running)
        shares = [connections(one, running.port) for one in (first, second)]
        assert sum(shares) == CLIENTS
        assert all(shares)
        for one in (first, second):
            seen = environment_of(one) + " ".join(one.cmdline())
            assert secret not in seen
            assert "DATABASE_URL" not in seen
        await known_to_both(running, tmp_path)
        for client in clients:
            client.abort()


async def known_to_both(running: ServerProcess, data_dir: Path) -> None:
    """Who signs in at the start page of one worker is found at that of each."""
    did = json.loads(_payload(DevIssuer(data_dir), "carol"))["did"]
    signed = await ask(running, data_dir, "token", {"name": "carol", "did": did})
    assert signed.status == 200, signed
    answers = [await ask(running, data_dir, "people", {"name": "carol"}) for _ in range(CLIENTS)]
    assert {answer.status for answer in answers} == {200}
    assert all(json.loads(answer.body)["did"] == did for answer in answers)
    assert (await ask(running, data_dir, "people", {"name": "nobody"})).status == 404


def _payload(issuer: DevIssuer, user: str) -> bytes:
    part = issuer.mint(user, now=datetime.now(UTC)).split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def ask(running: ServerProcess, data_dir: Path, what: str, question: dict[str, str]) -> Any:
    """Ask the start page something, over a connection of its own."""
    host = f"127.0.0.1:{running.port}"
    async with connected(running.port) as line:
        body = json.dumps(question).encode()
        line.send(
            f"POST /start/{what} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"
            f"X-Start-Secret: {dev_start_secret(data_dir)}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        return await line.receive()


async def test_what_waits_at_a_killed_worker_is_served_by_its_successor(
    database_url: str, tmp_path: Path
) -> None:
    async with node(tmp_path, DATABASE_URL=database_url) as running, AsyncExitStack() as stack:
        stopped, other = workers_of(running)
        stopped.suspend()
        lines = [await stack.enter_async_context(connected(running.port)) for _ in range(CLIENTS)]
        for line in lines:
            line.send(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        # The kernel has accepted all of them; those of the other worker are answered.
        await until(lambda: connections(other, running.port) > 0)
        waiting = CLIENTS - connections(other, running.port)
        assert waiting > 0
        stopped.kill()
        answers = [await line.receive() for line in lines]
        assert [answer.status for answer in answers] == [200] * CLIENTS
        assert len(said(running, "a worker has ended and is started again", "end=SIGKILL")) == 1
        (successor,) = (one for one in workers_of(running) if one not in (stopped, other))
        assert said(running, "a worker is ready", f"pid={successor.pid}")


async def test_a_killed_worker_costs_its_clients_a_connection_and_nobody_else_anything(
    database_url: str, tmp_path: Path
) -> None:
    async with node(tmp_path, DATABASE_URL=database_url) as running:
        killed, other = workers_of(running)
        clients = await everybody(tmp_path, running)
        stay = connections(other, running.port)
        killed.kill()
        await until(lambda: said(running, "a worker is ready"))
        alive = {number: client for number, client in enumerate(clients) if not client.lost}
        assert len(alive) == stay
        number, client = next(iter(alive.items()))
        await push(client, "00000000-0000-4000-8000-000000000001", person(number))
        again = await everybody(tmp_path, running)
        assert sum(connections(one, running.port) for one in workers_of(running)) == stay + CLIENTS
        for one in (*alive.values(), *again):
            one.abort()


async def test_workers_are_replaced_one_by_one_and_nobody_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    async with node(tmp_path, DATABASE_URL=database_url, SHUTDOWN_GRACE_SECONDS="4") as running:
        before = workers_of(running)
        clients = await everybody(tmp_path, running)
        done = asyncio.Event()
        coming = [asyncio.create_task(keep_coming(running.port, tmp_path, done)) for _ in range(4)]
        for _ in range(3):  # the second is done behind the first, the third is the second
            running.signal(signal.SIGUSR2)
        await until(lambda: said(running, "the workers are replaced one by one"))
        running.signal(signal.SIGUSR2)
        running.signal(signal.SIGUSR2)
        await until(lambda: len(said(running, "the workers were replaced")) == 2)
        done.set()
        came = [count for task in coming for count in [await task]]
        assert all(came)
        for client in clients:
            assert await client.receive(TIMEOUT_S) == GOING
        assert len(said(running, "the workers are replaced one by one")) == 2
        assert len(said(running, "a worker is replaced")) == 4
        after = workers_of(running)
        assert len(after) == 2
        assert not set(before) & set(after)
        await until_gone(before)


async def keep_coming(port: int, data_dir: Path, done: asyncio.Event) -> int:
    """Connect and call without a pause; how often. Of closes only 1001 is one that may come."""
    came = 0
    while not done.is_set():
        client = await signed_in_unless_going(port, data_dir)
        came += 1
        client.abort()
    return came


async def signed_in_unless_going(port: int, data_dir: Path) -> Socket:
    """A connection; the upgrade is never refused, whoever is just going."""
    client = await open_socket("127.0.0.1", port)
    token = DevIssuer(data_dir).mint("alice", now=datetime.now(UTC))
    with suppress(InvalidState):  # it is going already
        client.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
        client.send(cbor2.dumps({"type": 0, "id": "1", "method": "no-such", "params": {}}))
    event = await client.receive(TIMEOUT_S)
    assert not isinstance(event, Closed) or event == GOING, event
    return client


async def test_a_successor_that_does_not_start_leaves_the_one_before(tmp_path: Path) -> None:
    async with node(tmp_path) as running:
        before = workers_of(running)
        client = await signed_in(running, tmp_path)
        key = tmp_path / "dev" / "issuer.pem"
        kept = key.read_bytes()
        key.write_bytes(b"no key")
        running.signal(signal.SIGUSR2)
        await until(lambda: said(running, "the workers are not replaced"))
        (line,) = said(running, "a worker does not start")
        assert str(key) in line
        assert workers_of(running) == before
        key.write_bytes(kept)
        await push(client, "00000000-0000-4000-8000-000000000001")
        running.signal(signal.SIGUSR2)
        assert await client.receive(TIMEOUT_S) == GOING
        await until(lambda: said(running, "the workers were replaced"))


async def test_a_stop_drains_all_workers_together(tmp_path: Path) -> None:
    async with node(tmp_path) as running:
        processes = all_of(running)
        clients = await everybody(tmp_path, running, 10)
        running.signal(signal.SIGTERM)
        assert [await client.receive(TIMEOUT_S) for client in clients] == [GOING] * 10
        assert await running.wait(TIMEOUT_S) == 0
        assert len(said(running, "shutting down", "worker=")) == 2
        await until_gone(processes)
        assert said(running, "server stopped")[-1].split()[2:] == ["server", "stopped"]


async def test_a_second_signal_ends_all_processes_at_once(tmp_path: Path) -> None:
    async with node(tmp_path, SHUTDOWN_GRACE_SECONDS="600") as running:
        processes = all_of(running)
        for worker in workers_of(running):
            worker.suspend()  # so that they cannot drain
        running.signal(signal.SIGTERM)
        await until(lambda: said(running, "shutting down"))
        (directory,) = directories_of(running)
        running.signal(signal.SIGINT)
        assert await running.wait(TIMEOUT_S) == 1
        await until_gone(processes)
        assert not directory.exists()


async def test_workers_whose_supervisor_is_killed_drain_and_end(tmp_path: Path) -> None:
    async with node(tmp_path) as running:
        processes = all_of(running)
        assert any("postgres" in one.name() for one in processes)
        clients = await everybody(tmp_path, running, 10)
        (directory,) = directories_of(running)
        await running.kill()
        assert [await client.receive(TIMEOUT_S) for client in clients] == [GOING] * 10
        await until_gone(processes)
        assert not directory.exists()
    async with node(tmp_path, "--listen", f"127.0.0.1:{running.port}") as again:
        assert (await fetch(again.port, "GET", "/health")).status == 200


async def test_settings_are_read_again_by_all_and_by_those_that_come_later(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings"
    file.write_text("LOG_LEVEL=info\nSHUTDOWN_GRACE_SECONDS=8\n")
    async with node(tmp_path, DATABASE_URL=database_url, ENV_FILE=str(file)) as running:
        file.write_text("LOG_LEVEL=debug\nSHUTDOWN_GRACE_SECONDS=9\n")
        running.signal(signal.SIGHUP)
        for number in (1, 2):
            whose = f"worker={number}"
            await until(partial(said, running, "settings have changed", whose, "LOG_LEVEL"))
            await until(partial(said, running, "take effect with the next restart", whose, "SHUTDOWN_GR"))
            # A share of the node's connections is no other value of that setting.
            assert not said(running, "DATABASE_MAX_CONNECTIONS")
        file.write_text("LOG_LEVEL=nonsense\n")
        for worker in workers_of(running):
            worker.kill()
        await until(lambda: len(said(running, "a worker is ready")) == 2)
        # They are what they were when they were read last: every request has a line.
        (await signed_in(running, tmp_path)).abort()
        await until(lambda: said(running, "DEBUG", "method=subscribe"))
        running.signal(signal.SIGHUP)
        await until(lambda: len(said(running, "settings are not taken over", "nonsense")) == 2)


async def test_a_fault_of_the_start_is_told_once_in_the_words_of_one_process(
    database_url: str, tmp_path: Path
) -> None:
    url = database_url.replace("less_sync_test_", "no_such_")
    env = {"DATABASE_URL": url, "DATA_DIR": str(tmp_path), "LISTEN_ADDR": "127.0.0.1:0"}
    one = await run_less_sync("serve", "--dev", env=env)
    two = await run_less_sync("serve", "--dev", "--workers", "2", env=env)
    assert (two.status, two.err) == (one.status, one.err) == (1, one.err)
    assert two.err.startswith("Error: database error: ")


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_no_second_server_joins_at_the_same_address(
    database_url: str, tmp_path: Path, workers: str
) -> None:
    async with node(tmp_path / "a", DATABASE_URL=database_url) as running:
        options = ("--listen", f"127.0.0.1:{running.port}", "--workers", workers, "--dev")
        env = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path / "b")}
        second = await run_less_sync("serve", *options, env=env)
        assert second.status == 1
        assert second.err.startswith("Error: Address already in use (os error 98): cannot listen on ")
        assert second.err.count("\n") == 1


async def test_a_name_of_several_addresses_and_a_free_port(database_url: str, tmp_path: Path) -> None:
    families = {place[0] for place in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    async with node(tmp_path, "--listen", "localhost:0", DATABASE_URL=database_url) as running:
        assert (await fetch(running.port, "GET", "/health")).status == 200
        if socket.AF_INET6 in families:
            client = await open_socket("::1", running.port)
            client.abort()


async def test_too_few_connections_for_all_workers_are_refused(database_url: str) -> None:
    env = {"DATABASE_URL": database_url, "DATABASE_MAX_CONNECTIONS": "7", "PUSH_LANES": "3"}
    finished = await run_less_sync("serve", "--dev", "--workers", "3", env=env)
    reason = "each has a part of them, and so has one that replaces another"
    assert (finished.status, finished.err) == (
        1,
        f"Error: DATABASE_MAX_CONNECTIONS must be at least 8 with WORKERS=3: {reason}\n"
        f"Error: PUSH_LANES must be at least 4 with WORKERS=3: {reason}\n",
    )
