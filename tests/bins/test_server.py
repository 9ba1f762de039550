"""The server as a process: start, signals, crashes, and a database that comes and goes."""

import asyncio
import os
import shlex
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import cbor2
import psutil  # type: ignore[import-untyped]  # ships no types
import pytest

from less_sync.bins.dev import DevIssuer, dev_personal_space_id, dev_start_secret
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.reach import migrate_when_reachable
from less_sync.bins.server import serve
from less_sync.bins.services import Opened, open_services
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.parts import ListenAddress
from less_sync.bins.supervisor import Supervisor
from less_sync.storage import StorageError
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.sign_in import Authenticator
from tests.bins.commands import run_less_sync
from tests.sync.raw_http import Response, connected, fetch
from tests.wire.client import Closed, Message, Socket, open_socket
from tests.wire.command import start_command
from tests.wire.process import ServerProcess

TIMEOUT_S = 30.0


@asynccontextmanager
async def server(
    data_dir: Path, *arguments: str, fresh: bool = False, **settings: str
) -> AsyncIterator[ServerProcess]:
    async with ServerProcess({"DATA_DIR": str(data_dir), **settings}, arguments, fresh=fresh) as running:
        yield running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.02)


async def health(running: ServerProcess) -> Response:
    return await fetch(running.port, "GET", "/health")


async def until_health_is(running: ServerProcess, status: int) -> Response:
    async with asyncio.timeout(TIMEOUT_S):
        while (response := await health(running)).status != status:  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.1)
    return response


def said(running: ServerProcess, text: str) -> bool:
    return any(text in line for line in running.output)


async def signed_in(running: ServerProcess, data_dir: Path, user: str = "alice") -> Socket:
    """A connection whose token was accepted."""
    return await signed_in_at(running.port, data_dir, user)


async def signed_in_at(port: int, data_dir: Path, user: str = "alice") -> Socket:
    """The same, by port."""
    token = DevIssuer(data_dir).mint(user, now=datetime.now(UTC))
    socket = await open_socket("127.0.0.1", port)
    socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
    space = {"id": str(dev_personal_space_id(user)), "since": 0}
    await call(socket, "subscribe", {"spaces": [space]})
    return socket


async def call(socket: Socket, method: str, params: object) -> object:
    socket.send(cbor2.dumps({"type": 0, "id": "1", "method": method, "params": params}))
    event = await socket.receive(TIMEOUT_S)
    assert isinstance(event, Message), event
    response = cbor2.loads(event.data)
    assert "error" not in response, response
    return response["result"]


async def push(socket: Socket, record: str, user: str = "alice") -> object:
    change = {"id": record, "blob": b"x", "expected_cursor": 0}
    return await call(socket, "push", {"space": str(dev_personal_space_id(user)), "changes": [change]})


async def test_a_bare_start_shows_address_data_directory_and_a_command_that_mints_a_token(
    tmp_path: Path,
) -> None:
    data_dir = tmp_path / "a data directory"
    async with server(data_dir, fresh=True) as running:
        await until(lambda: said(running, "mint a token:"))
        assert said(running, f"http://127.0.0.1:{running.port}")
        assert said(running, f"data directory: {data_dir}")
        (line,) = (line for line in running.output if line.startswith("mint a token:"))
        process = await asyncio.create_subprocess_exec(
            *shlex.split(line.partition(":")[2]), stdout=asyncio.subprocess.PIPE
        )
        token = (await process.communicate())[0].decode().strip()
        headers = f"Authorization: Bearer {token}\r\n"
        assert (await fetch(running.port, "GET", "/nowhere", headers)).status == 404
        assert (await health(running)).body == b'{"status":"healthy"}'
        secret = dev_start_secret(data_dir)
        assert running.output.count(f"start page:     http://127.0.0.1:{running.port}/#{secret}") == 1
        assert sum(secret in line for line in running.output) == 1
        assert (await fetch(running.port, "GET", "/")).status == 403  # for the Host that it is asked by


async def test_sigterm_closes_sessions_with_1001_and_ends_with_status_0(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        sockets = [await signed_in(running, tmp_path) for _ in range(2)]
        async with connected(running.port) as idle:
            assert (await idle.request("GET", "/health")).status == 200
            running.signal(signal.SIGTERM)
            for client in sockets:
                assert await client.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
            assert await idle.ended() == b""
        assert await running.wait(TIMEOUT_S) == 0
        assert said(running, "server stopped")


async def test_an_interrupt_ends_with_status_0_as_well(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        running.signal(signal.SIGINT)
        assert await running.wait(TIMEOUT_S) == 0


UPGRADE = (
    b"GET /api/v1/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: less-rpc-v1\r\n\r\n"
)


async def test_a_second_signal_ends_the_process_at_once_with_status_1(tmp_path: Path) -> None:
    async with server(tmp_path, SHUTDOWN_GRACE_SECONDS="600", LIMIT_CLOSE_TIMEOUT_S="600") as running:
        async with connected(running.port) as deaf:
            deaf.send(UPGRADE)
            assert (await deaf.receive(body=False)).status == 101
            running.signal(signal.SIGTERM)
            await until(lambda: said(running, "shutting down"))
            running.signal(signal.SIGTERM)
            assert await running.wait(TIMEOUT_S) == 1


async def test_a_client_that_never_answers_does_not_hold_up_the_stop_beyond_the_grace(tmp_path: Path) -> None:
    async with server(tmp_path, SHUTDOWN_GRACE_SECONDS="1", LIMIT_CLOSE_TIMEOUT_S="600") as running:
        async with connected(running.port) as deaf:
            deaf.send(UPGRADE)
            assert (await deaf.receive(body=False)).status == 101
            running.signal(signal.SIGTERM)
            assert await running.wait(TIMEOUT_S) == 0


async def test_a_data_directory_survives_kill_9(tmp_path: Path) -> None:
    record = "00000000-0000-4000-8000-000000000001"
    async with server(tmp_path) as running:
        await push(await signed_in(running, tmp_path), record)
        await running.kill()
    async with server(tmp_path) as running:
        client = await signed_in(running, tmp_path)
        answer = await push(client, record)
        assert isinstance(answer, dict)
        assert answer["ok"] is False  # it is there already, at another cursor
        assert answer["error"] == "conflict"


async def test_a_second_server_on_the_same_data_directory_is_refused(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        second = await run_less_sync("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
        assert second.status == 1
        assert second.err.startswith("Error: ")
        assert str(tmp_path) in second.err
        assert "Traceback" not in second.err
        assert (await health(running)).status == 200


async def test_a_port_that_is_taken_is_told_with_the_system_s_message(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        finished = await run_less_sync("serve", "--listen", address, "--data-dir", str(tmp_path))
    assert finished.status == 1
    assert finished.err.startswith(
        f"Error: Address already in use (os error 98): cannot listen on {address}; "
    )
    assert finished.err.count("\n") == 1


async def test_a_host_that_does_not_resolve_is_an_error(database_url: str, tmp_path: Path) -> None:
    env = {"DATABASE_URL": database_url, "TRUSTED_ISSUERS": "http://127.0.0.1:1", "DATA_DIR": str(tmp_path)}
    finished = await run_less_sync("serve", "--listen", "no-such-host.invalid:0", env=env)
    assert finished.status == 1
    assert "cannot listen on no-such-host.invalid:0" in finished.err
    assert "Traceback" not in finished.err


async def test_issuers_need_not_be_reachable_at_start(database_url: str, tmp_path: Path) -> None:
    env = {"DATABASE_URL": database_url, "TRUSTED_ISSUERS": "http://127.0.0.1:1", "LOG_FORMAT": "json"}
    async with ServerProcess({"DATA_DIR": str(tmp_path), **env}) as running:
        assert (await health(running)).status == 200
        assert said(running, '"msg":"rate limiting is disabled: IDENTITY_HASH_KEY is not set"')
        assert not said(running, "mint a token")
        await until(lambda: said(running, '"msg":"key set not fetched","issuer":"http://127.0.0.1:1"'))
        listening, failed = (
            next(number for number, line in enumerate(running.output) if text in line)
            for text in ("server listening", "key set not fetched")
        )
        assert listening < failed
        assert not (tmp_path / "postgres").exists()


async def test_two_servers_may_start_on_one_empty_database_at_the_same_time(
    empty_database_url: str, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": empty_database_url}
    first, second = (ServerProcess({**env, "DATA_DIR": str(tmp_path / n)}, ("--dev",)) for n in "12")
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(one) for one in (first, second)))
        assert [(await health(one)).status for one in (first, second)] == [200, 200]


async def test_an_unknown_database_ends_the_start_at_once(database_url: str, tmp_path: Path) -> None:
    url = database_url.replace("less_sync_test_", "no_such_")
    finished = await run_less_sync("serve", "--dev", env={"DATABASE_URL": url, "DATA_DIR": str(tmp_path)})
    name = url.partition("?")[0].rpartition("/")[2]
    expected = f'Error: database error: error returned from database: database "{name}" does not exist\n'
    assert (finished.status, finished.err) == (1, expected)


async def test_a_database_that_stays_away_is_given_up() -> None:
    with pytest.raises(CommandError) as caught:
        await migrate_when_reachable("postgres://127.0.0.1:1/x", timeout_s=0.05, pause_s=0.02)
    assert str(caught.value) == "database error: pool timed out while waiting for an open connection"
    assert caught.value.causes == (
        'error communicating with database: Connection refused (os error 111): database "x" at 127.0.0.1:1',
    )


async def test_a_signal_while_the_database_is_awaited_ends_the_start(tmp_path: Path) -> None:
    options = ("--dev", "--database-url", "postgres://127.0.0.1:1/x", "--data-dir", str(tmp_path))
    process = await start_command("less-sync", ("serve", *options), env={}, stderr_apart=True)
    async with asyncio.timeout(TIMEOUT_S):
        while b"cannot be reached yet" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert (await process.communicate())[1] == b""
    assert process.returncode == 0


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n")[0]))


async def test_a_database_that_hangs_shows_in_health_and_the_server_recovers(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        client = await signed_in(running, tmp_path)
        stopped = [postmaster(tmp_path), *postmaster(tmp_path).children(recursive=True)]
        try:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):  # of a connection that was just closed
                    process.suspend()
            response = await until_health_is(running, 503)
            assert response.body == b'{"status":"unhealthy","error":"database unavailable"}'
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        await until_health_is(running, 200)
        await push(client, "00000000-0000-4000-8000-000000000001")


async def test_an_embedded_database_that_was_killed_comes_back(tmp_path: Path) -> None:
    async with server(tmp_path) as running:
        await push(await signed_in(running, tmp_path), "00000000-0000-4000-8000-000000000001")
        before = postmaster(tmp_path)
        before.kill()
        await until(lambda: said(running, "the embedded Postgres has ended and is started again"))
        await until_health_is(running, 200)
        await until(lambda: postmaster(tmp_path).pid != before.pid)
        client = await signed_in(running, tmp_path, "bob")
        await push(client, "00000000-0000-4000-8000-000000000002", "bob")


async def test_a_data_directory_that_vanished_ends_the_server_with_a_sentence(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with server(data_dir) as running:
        client = await signed_in(running, data_dir)
        database = postmaster(data_dir)
        data_dir.rename(tmp_path / "moved")
        database.kill()
        assert await client.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        assert await running.wait(TIMEOUT_S) == 1
        assert running.output[-1] == (
            f"Error: the data directory {data_dir} was moved away or replaced while the server ran; "
            "put it back and start the server again"
        )
        assert said(running, 'a vital task has ended task="keeper of the embedded Postgres" fault=')
        assert not said(running, "Traceback")
    assert not data_dir.exists()
    async with server(tmp_path / "moved") as again:
        assert (await health(again)).status == 200


async def test_the_end_of_a_lane_drains_the_sessions_and_ends_the_server(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings.from_env(
        {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "LISTEN_ADDR": "127.0.0.1:0"}, dev=True
    )
    address: asyncio.Future[ListenAddress] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, address.set_result, asyncio.Event()))
    port = (await asyncio.wait_for(address, TIMEOUT_S)).port
    client = await signed_in_at(port, tmp_path)
    (lane,) = (task for task in asyncio.all_tasks() if task.get_name() == "push lane 1")
    lane.cancel()
    assert await client.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
    expected = "^the push lanes ended unexpectedly, so the server was stopped; the log says where$"
    with pytest.raises(CommandError, match=expected) as caught:
        await asyncio.wait_for(serving, TIMEOUT_S)
    assert isinstance(caught.value.__cause__, StorageError)


class Ahead(Authenticator):
    """Fetches ahead in a way of its own, and remembers how that went."""

    def __init__(self, address: asyncio.Future[ListenAddress], fault: Exception | None) -> None:
        super().__init__(KeyFetcher({}))
        self.address = address
        self.fault = fault
        self.steps: list[str] = []
        self.began = asyncio.Event()

    async def prefetch(self) -> None:
        """Note that it began, then fail or go on until it is cancelled."""
        port = (await self.address).port
        response = await fetch(port, "GET", "/health")
        self.steps.append(f"fetching while health is {response.status}")
        self.began.set()
        try:
            if self.fault is not None:
                raise self.fault
            await asyncio.Event().wait()
        finally:
            self.steps.append("ended")


@pytest.mark.parametrize("fault", [None, OSError("no route to the issuer")])
async def test_key_sets_are_fetched_beside_a_server_that_listens_already(
    fault: Exception | None, database_url: str, tmp_path: Path
) -> None:
    settings = Settings.from_env(
        {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "LISTEN_ADDR": "127.0.0.1:0"}, dev=True
    )
    address: asyncio.Future[ListenAddress] = asyncio.get_running_loop().create_future()
    ahead, stop = Ahead(address, fault), asyncio.Event()

    async def with_ahead(settings: Settings, url: str, stack: AsyncExitStack, vital: Supervisor, /) -> Opened:
        opened = await open_services(settings, url, stack, vital)
        opened.services.authenticator = ahead
        return opened

    serving = asyncio.create_task(serve(settings, address.set_result, stop, open_services=with_ahead))
    await asyncio.wait_for(ahead.began.wait(), TIMEOUT_S)
    assert not serving.done()
    stop.set()
    await asyncio.wait_for(serving, TIMEOUT_S)
    assert ahead.steps == ["fetching while health is 200", "ended"]


async def test_a_vital_task_that_ends_during_the_start_ends_it(database_url: str, tmp_path: Path) -> None:
    settings = Settings.from_env({"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)}, dev=True)

    async def never(settings: Settings, url: str, stack: AsyncExitStack, vital: Supervisor, /) -> Opened:
        vital.start("push lanes", asyncio.sleep(0))
        await asyncio.Event().wait()
        raise AssertionError("it was cancelled")

    serving = serve(settings, lambda address: None, asyncio.Event(), open_services=never)
    with pytest.raises(CommandError, match="the push lanes ended unexpectedly"):
        await asyncio.wait_for(serving, TIMEOUT_S)


async def test_nothing_private_is_logged_at_any_level(tmp_path: Path) -> None:
    user = "a-user-nobody-may-see"
    token = DevIssuer(tmp_path).mint(user, now=datetime.now(UTC))
    async with server(tmp_path, LOG_LEVEL="trace") as running:
        client = await signed_in(running, tmp_path, user)
        await push(client, "00000000-0000-4000-8000-000000000001", user)
        headers = f"Authorization: Bearer {token}\r\nX-UCAN: secret-ucan\r\n"
        await fetch(running.port, "GET", f"/{user}?{user}", headers)
        await fetch(running.port, "GET", "/nowhere", "Authorization: Bearer secret-token\r\n")
        running.signal(signal.SIGTERM)
        assert await running.wait(TIMEOUT_S) == 0
    written = "\n".join(running.output) + (tmp_path / "postgres.log").read_text()
    assert written.count("request method=GET route=-") == 2
    for private in (user, token, token.split(".")[1], "secret-", "did:key:", "Bearer"):
        assert private not in written


async def test_a_server_leaves_no_process_behind(tmp_path: Path) -> None:
    async with server(tmp_path):
        database = postmaster(tmp_path)
        assert os.getsid(database.pid) == database.pid
    assert not psutil.pid_exists(database.pid)
