import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError
from tests.bins.embedded_owner import is_running, scalar

ROOT = Path(__file__).parents[2]
QUICK = {"fsync": "off"}


@contextlib.asynccontextmanager
async def owner_of(
    data_dir: Path, prefix: tuple[str, ...] = ()
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Another process that has started an embedded Postgres on `data_dir`, and what it says of it."""
    process = await asyncio.create_subprocess_exec(
        *(*prefix, sys.executable, "-m", "tests.bins.embedded_owner", str(data_dir)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process, json.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.communicate()  # to the end of its output: its pipe would outlive the test's loop


@pytest.fixture(params=["short", "too long for a socket"])
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "data" if request.param == "short" else tmp_path / ("long-" * 24) / "data"
    yield path
    link = path / "socket"
    assert not link.is_symlink(), "a link to a temporary directory is left"


async def test_data_outlive_a_stop_and_nothing_keeps_running(data_dir: Path) -> None:
    assert not EmbeddedPostgres.exists(data_dir)
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        await scalar(postgres.url, "CREATE TABLE kept AS SELECT 41 + 1 AS n")
        pid = postgres.pid
        assert is_running(pid)
    assert not is_running(pid)
    assert EmbeddedPostgres.exists(data_dir)
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        assert await scalar(postgres.url, "SELECT n FROM kept") == 42


async def test_postgres_syncs_and_logs_no_statement_unless_told_otherwise(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as postgres:
        assert await scalar(postgres.url, "SHOW fsync") == "on"
        assert await scalar(postgres.url, "SHOW full_page_writes") == "on"
        assert await scalar(postgres.url, "SHOW synchronous_commit") == "on"
        with pytest.raises(asyncpg.InvalidTextRepresentationError):
            await scalar(postgres.url, "SELECT 'a secret'::int")
    log = postgres.log_path.read_text()
    assert "ready to accept connections" in log
    assert "secret" not in log


async def test_only_a_private_socket_leads_in(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        assert await scalar(postgres.url, "SHOW listen_addresses") == ""
        directory = Path(await scalar(postgres.url, "SHOW unix_socket_directories"))
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / ".s.PGSQL.5432").stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "postgres").stat().st_mode) == 0o700
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert (data_dir / "socket").samefile(directory)
    assert not directory.exists()


async def test_the_address_stays_the_same_over_restarts(data_dir: Path) -> None:
    urls = set()
    for _ in range(2):
        async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
            urls.add(postgres.url)
    assert len(urls) == 1


async def test_a_stranger_in_the_place_of_the_temporary_directory_is_avoided(tmp_path: Path) -> None:
    data_dir = tmp_path / ("long-" * 24) / "data"
    async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
        usual = (data_dir / "socket").readlink()
    usual.mkdir()
    usual.chmod(0o777)
    try:
        async with EmbeddedPostgres(data_dir, settings=QUICK) as postgres:
            directory = (data_dir / "socket").readlink()
            assert directory != usual
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            assert await scalar(postgres.url, "SELECT 1") == 1
        assert not directory.exists()
        assert usual.exists()
    finally:
        usual.rmdir()


async def test_postgres_has_a_session_of_its_own_so_ctrl_c_passes_it_by(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
        assert os.getsid(postgres.pid) == postgres.pid
        assert os.getpgid(postgres.pid) != os.getpgid(0)


async def test_as_root_postgres_is_somebody_else_with_one_capability(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
        status = Path("/proc", str(postgres.pid), "status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines())
        owner = (tmp_path / "postgres").stat().st_uid
        assert {int(uid) for uid in fields["Uid"].split()} == {owner}
        assert owner != 0
        assert int(fields["CapEff"], 16) & ~0b10 == 0


async def test_an_ordinary_user_owns_everything_and_the_data_survive(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # The launcher of Postgres turns this process into `nobody`, who may read the checkout.
        data_dir.mkdir(mode=0o700)
        os.chown(data_dir, 65534, 65534)
        code = (
            "import os, sys; from less_sync.bins.postgres.launcher import main;"
            "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
            "main([str(os.getppid()), str(fd), '65534', '65534', *sys.argv[2:]])"
        )
        prefix = (sys.executable, "-c", code, str(tmp_path / "other.lock"))
    async with owner_of(data_dir, prefix) as (_, told):
        user = Path("/proc", str(told["pid"])).stat().st_uid
        assert user == data_dir.stat().st_uid != 0
        assert {path.stat().st_uid for path in data_dir.iterdir()} == {user}
    assert not is_running(told["pid"])
    async with EmbeddedPostgres(data_dir) as postgres:
        assert await scalar(postgres.url, "SELECT count(*) FROM kept") == 1
        assert (data_dir / "postgres").stat().st_uid == user


async def test_a_second_server_is_refused_by_name_and_pid(tmp_path: Path) -> None:
    async with owner_of(tmp_path) as (process, told):
        with pytest.raises(EmbeddedPostgresError) as refusal:
            await EmbeddedPostgres(tmp_path).__aenter__()
        assert str(tmp_path) in str(refusal.value)
        assert f"(pid {process.pid})" in str(refusal.value)
        assert await scalar(told["url"], "SELECT count(*) FROM kept") == 1


async def test_a_killed_server_leaves_data_that_start_again(data_dir: Path) -> None:
    for runs in (1, 2):
        async with owner_of(data_dir) as (process, _):
            process.kill()
            await process.wait()
        async with EmbeddedPostgres(data_dir) as postgres:
            assert await scalar(postgres.url, "SELECT count(*) FROM kept") == runs


async def test_an_orphan_that_hangs_is_ended_by_force(tmp_path: Path) -> None:
    async with owner_of(tmp_path) as (process, told):
        os.kill(told["pid"], signal.SIGSTOP)  # it no longer hears that its server is gone
        process.kill()
        await process.wait()
    assert is_running(told["pid"])
    async with EmbeddedPostgres(tmp_path, stop_timeout_s=0.1) as postgres:
        assert postgres.pid != told["pid"]
        assert await scalar(postgres.url, "SELECT count(*) FROM kept") == 1
    assert not is_running(told["pid"])


async def test_a_postgres_that_dies_is_noticed_and_starts_again(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as postgres:
        await scalar(postgres.url, "CREATE TABLE kept AS SELECT 1 AS n")
        os.kill(postgres.pid, signal.SIGKILL)
        assert await postgres.wait() == -signal.SIGKILL
    async with EmbeddedPostgres(tmp_path) as postgres:
        assert await scalar(postgres.url, "SELECT n FROM kept") == 1


async def test_a_start_that_is_cancelled_leaves_nothing_running(tmp_path: Path) -> None:
    starting = asyncio.create_task(EmbeddedPostgres(tmp_path).__aenter__())
    while not list(tmp_path.glob("postgres.new-*/c/PG_VERSION")):
        assert not starting.done()
        await asyncio.sleep(0.001)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not EmbeddedPostgres.exists(tmp_path)
    assert not list(tmp_path.glob("postgres.new-*"))
    async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
        assert await scalar(postgres.url, "SELECT 1") == 1
