"""`less-sync fleet serve` as a process: start from nothing, neighbours, faults, and the ways it ends."""

import asyncio
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from less_sync.fleet.workers.kinds import WORKERS
from tests.bins.commands import run_less_sync
from tests.fleet.databases import execute, value
from tests.fleet.process import GIVEN, KEY, FleetProcess, admin, bearer, kept_key
from tests.sync.raw_http import Response, fetch
from tests.wire.command import start_command
from tests.wire.process import ServerProcess

TIMEOUT_S = 30.0


@asynccontextmanager
async def fleet(
    data_dir: Path, *arguments: str, fresh: bool = False, **settings: str
) -> AsyncIterator[FleetProcess]:
    async with FleetProcess({"DATA_DIR": str(data_dir), **settings}, arguments, fresh=fresh) as running:
        yield running


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.02)


async def health(running: ServerProcess) -> Response:
    return await fetch(running.port, "GET", "/management/v1/health")


async def until_health_is(running: FleetProcess, status: int) -> Response:
    async with asyncio.timeout(TIMEOUT_S):
        while (response := await health(running)).status != status:  # noqa: ASYNC110  # another process's doing
            await asyncio.sleep(0.1)
    return response


def said(running: ServerProcess, text: str) -> bool:
    return any(text in line for line in running.output)


async def told(line: str, given: bytes) -> str:
    """What the command says that a line of the banner names."""
    process = await asyncio.create_subprocess_exec(
        *shlex.split(line.partition(":")[2]), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.communicate(given))[0].decode().strip()


async def admin_port(running: FleetProcess) -> int:
    """Where the admin listener of dev mode is."""
    await until(lambda: said(running, "for tools:"))
    (line,) = (line for line in running.output if line.startswith("for tools:"))
    return int(line.rpartition(":")[2].removesuffix("/metrics"))


def postmaster(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "fleet/postgres/postmaster.pid").read_text().split("\n")[0]))


async def test_one_command_starts_a_plane_from_nothing_and_keeps_its_keys(tmp_path: Path) -> None:
    data_dir = tmp_path / "a data directory"
    files = ("management.key", "secret.key", "admin-token")
    async with fleet(data_dir, fresh=True) as running:
        port = await admin_port(running)
        url = f"http://127.0.0.1:{running.port}"
        assert said(running, f"listens on {url} in dev mode")
        assert said(running, f"management key:  {data_dir}/fleet/management.key")
        assert said(running, f'management key kept in a file path="{data_dir}/fleet/management.key"')
        where = f"--url {url} --data-dir '{data_dir}'"
        (line,) = (line for line in running.output if line.startswith("first operator:"))
        assert line.endswith(f" fleet admin create alice {where}")
        assert await told(line, b"correct horse battery staple\n") == "made alice, admin"
        assert (await health(running)).status == 200
        key = kept_key(data_dir)
        assert not said(running, key)
        assert (await fetch(running.port, "GET", "/nowhere", bearer(key))).status == 404
        root = await fetch(running.port, "GET", "/")
        assert (root.status, root.header("location")) == (302, "/admin/")
        token = (data_dir / "fleet/admin-token").read_text().strip()
        ready = await fetch(port, "GET", "/readyz", f"X-Admin-Token: {token}\r\n")
        assert ready.status == 200
        kept = {name: (data_dir / "fleet" / name).read_bytes() for name in files}
        assert {(data_dir / "fleet" / name).stat().st_mode & 0o777 for name in files} == {0o600}
        running.signal(signal.SIGTERM)
        assert await running.wait(TIMEOUT_S) == 0
        assert said(running, "fleet plane stopped")
    async with fleet(data_dir) as again:
        assert not said(again, "migration applied")
        assert {name: (data_dir / "fleet" / name).read_bytes() for name in files} == kept
        assert (await fetch(again.port, "GET", "/nowhere", bearer(key))).status == 404


async def test_a_second_plane_is_refused_and_a_sync_server_is_not(tmp_path: Path) -> None:
    async with fleet(tmp_path) as running, ServerProcess({"DATA_DIR": str(tmp_path)}) as beside:
        second = await run_less_sync("fleet", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path))
        assert (second.status, second.err) == (
            1,
            f"Error: the data directory {tmp_path}/fleet is in use by another process (pid {running.pid}); "
            "stop it or choose another directory with DATA_DIR\n",
        )
        assert (await health(running)).status == 200
        assert (await fetch(beside.port, "GET", "/health")).status == 200
        assert (tmp_path / "postgres").is_dir()


async def test_all_problems_are_printed_at_once_and_nothing_is_made(tmp_path: Path) -> None:
    env = {"DATABASE_URL": "postgres://127.0.0.1:1/x", "DATA_DIR": str(tmp_path), "PORT": "x"}
    finished = await run_less_sync("fleet", "serve", env=env)
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.splitlines() == [
        'Error: invalid PORT value "x": invalid digit found in string',
        "Error: MANAGEMENT_KEY must be set",
        "Error: FLEET_SECRET_KEY must be set",
        "Error: FLEET_PUBLIC_URL must be set",
    ]
    assert list(tmp_path.iterdir()) == []


async def test_a_file_of_variables_is_read_and_an_option_wins(
    fleet_database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "env"
    given = {**GIVEN, "FLEET_LISTEN_ADDR": "nowhere.invalid:1", "DATABASE_URL": fleet_database_url}
    file.write_text("".join(f'{name}="{text}"\n' for name, text in given.items()))
    async with fleet(tmp_path / "data", "--env-file", str(file)) as running:
        assert (await fetch(running.port, "GET", "/nowhere", bearer(KEY))).status == 404
        assert not (tmp_path / "data").exists()


async def test_two_instances_migrate_one_empty_database_at_once(
    empty_database_url: str, tmp_path: Path
) -> None:
    env = {**GIVEN, "DATABASE_URL": empty_database_url}
    both = [FleetProcess({**env, "DATA_DIR": str(tmp_path / name)}) for name in "12"]
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(one) for one in both))
        assert [(await health(one)).status for one in both] == [200, 200]
        applied = sum("migration applied" in line for one in both for line in one.output)
        assert applied == await value(empty_database_url, "SELECT count(*) FROM fleet_migrations")


async def test_a_port_that_is_taken_is_told_with_what_chooses_another(
    fleet_database_url: str, tmp_path: Path
) -> None:
    env = {**GIVEN, "DATABASE_URL": fleet_database_url, "DATA_DIR": str(tmp_path)}
    async with FleetProcess(env) as running:
        address = f"127.0.0.1:{running.port}"
        for name, option in (("PORT or FLEET_LISTEN_ADDR", "--listen"), ("FLEET_ADMIN_ADDR", "--admin-addr")):
            places = {"--listen": "127.0.0.1:0", option: address}
            line = [word for pair in places.items() for word in pair]
            finished = await run_less_sync("fleet", "serve", *line, env=env)
            assert (finished.status, finished.err) == (
                1,
                f"Error: Address already in use (os error 98): cannot listen on {address}; "
                f"another program listens there, choose another address with {name}\n",
            )


async def test_a_stop_while_the_database_is_awaited_ends_the_start(tmp_path: Path) -> None:
    env = {**GIVEN, "DATABASE_URL": "postgres://127.0.0.1:1/x", "DATA_DIR": str(tmp_path)}
    process = await start_command("less-sync", ("fleet", "serve"), env=env, stderr_apart=True)
    async with asyncio.timeout(TIMEOUT_S):
        while b"the database cannot be reached yet" not in await process.stdout.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert (await process.communicate())[1] == b""
    assert process.returncode == 0


async def test_an_unknown_database_ends_the_start_at_once(fleet_database_url: str, tmp_path: Path) -> None:
    url = fleet_database_url.replace("less_sync_test_", "no_such_")
    env = {**GIVEN, "DATABASE_URL": url, "DATA_DIR": str(tmp_path)}
    finished = await run_less_sync("fleet", "serve", env=env)
    name = url.partition("?")[0].rpartition("/")[2]
    expected = f'Error: database error: error returned from database: database "{name}" does not exist\n'
    assert (finished.status, finished.err) == (1, expected)


async def test_a_database_that_hangs_shows_in_health_and_the_plane_recovers(tmp_path: Path) -> None:
    async with fleet(tmp_path, ADMIN_TOKEN=GIVEN["ADMIN_TOKEN"]) as running:
        port = await admin_port(running)
        stopped = [postmaster(tmp_path), *postmaster(tmp_path).children(recursive=True)]
        try:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.suspend()
            async with asyncio.timeout(8):  # a question that is cancelled must not hold up an answer
                response = await until_health_is(running, 503)
                assert (await admin(port, "/readyz")).status == 503
                told = (await admin(port, "/metrics")).body.decode()
            assert "less_sync_fleet_http_requests_total{" in told
            assert "less_sync_fleet_agents{" not in told
            assert b'"status":"unhealthy"' in response.body
            assert b'"database":"unavailable"' in response.body
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()
        await until_health_is(running, 200)
        async with asyncio.timeout(TIMEOUT_S):
            while b"less_sync_fleet_agents{" not in (await admin(port, "/metrics")).body:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_a_postgres_that_was_killed_comes_back(tmp_path: Path) -> None:
    async with fleet(tmp_path) as running:
        before = postmaster(tmp_path)
        before.kill()
        await until(lambda: said(running, "the embedded Postgres has ended and is started again"))
        await until_health_is(running, 200)
        assert postmaster(tmp_path).pid != before.pid


async def test_a_killed_plane_leaves_nothing_in_the_way_of_the_next(tmp_path: Path) -> None:
    async with fleet(tmp_path) as running:
        key = kept_key(tmp_path)
        await running.kill()
    async with fleet(tmp_path) as again:
        assert (await fetch(again.port, "GET", "/nowhere", bearer(key))).status == 404


async def test_a_second_signal_ends_the_process_at_once_with_status_1(tmp_path: Path) -> None:
    async with fleet(tmp_path, SHUTDOWN_GRACE_SECONDS="600") as running:
        stopped = [postmaster(tmp_path), *postmaster(tmp_path).children(recursive=True)]
        for process in stopped:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        try:
            running.signal(signal.SIGTERM)
            await until(lambda: said(running, "shutting down"))  # which takes until the Postgres has ended
            running.signal(signal.SIGTERM)
            assert await running.wait(TIMEOUT_S) == 1
        finally:
            for process in stopped:
                with suppress(psutil.NoSuchProcess):
                    process.resume()


async def test_sighup_ends_no_plane(tmp_path: Path) -> None:
    async with fleet(tmp_path) as running:
        running.signal(signal.SIGHUP)
        assert (await health(running)).status == 200
        running.signal(signal.SIGTERM)
        assert await running.wait(TIMEOUT_S) == 0


async def test_workers_survive_what_goes_wrong_and_stop_in_time(
    fleet_database_url: str, tmp_path: Path
) -> None:
    env = {**GIVEN, "DATABASE_URL": fleet_database_url, "DATA_DIR": str(tmp_path)}
    quick = {"WEBHOOK_WORKER_INTERVAL_SECONDS": "1", "HEALTH_CHECK_INTERVAL_SECONDS": "1"}
    names = ("webhook_deliveries", "worker_state")  # of what they look at, the one or the other
    for name in names:
        await execute(fleet_database_url, f"ALTER TABLE {name} RENAME TO {name}_away")
    async with FleetProcess({**env, **quick}) as running:
        failed = [f"worker failed worker={name} " for name in WORKERS]
        await until(lambda: all(said(running, text) for text in failed))
        assert (await health(running)).status == 200
        for name in names:
            await execute(fleet_database_url, f"ALTER TABLE {name}_away RENAME TO {name}")
        async with asyncio.timeout(TIMEOUT_S):
            while not await value(fleet_database_url, "SELECT count(*) FROM worker_state"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        running.signal(signal.SIGTERM)
        assert await running.wait(TIMEOUT_S) == 0
        assert not said(running, "cut short")
        assert not said(running, "a vital task has ended")
