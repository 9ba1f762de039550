import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from less_sync.bins.postgres import launcher
from less_sync.bins.postgres.embedded import EmbeddedPostgres, EmbeddedPostgresError, binaries
from less_sync.bins.postgres.files import LOG_BYTES_MAX, log_problem, trim_log
from tests.bins.embedded_owner import is_running, scalar

QUICK = {"fsync": "off"}


async def made(data_dir: Path) -> Path:
    """Make a cluster in `data_dir`, leave it stopped and return its directory."""
    async with EmbeddedPostgres(data_dir, settings=QUICK):
        pass
    return data_dir / "postgres"


async def refusal(data_dir: Path, settings: dict[str, str] = QUICK) -> str:
    """What the operator is told when Postgres cannot start on `data_dir`."""
    with pytest.raises(EmbeddedPostgresError) as caught:
        await EmbeddedPostgres(data_dir, settings=settings).__aenter__()
    return str(caught.value)


@contextlib.contextmanager
def postgres_without_server(cluster: Path, lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Postgres on `cluster` that no server has started; `lock` is the file it holds."""
    owner = cluster.stat()
    fd = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    start = (sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), str(fd))
    postgres = (
        str(binaries() / "postgres"),
        "-D",
        str(cluster),
        "-k",
        str(cluster),
        "-c",
        "listen_addresses=",
    )
    process = subprocess.Popen(
        [*start, str(owner.st_uid), str(owner.st_gid), *postgres],
        pass_fds=(fd,),
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(fd)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


async def ready(cluster: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until that Postgres accepts connections."""
    status = cluster / "postmaster.pid"
    while not (status.exists() and status.read_text().endswith("ready   \n")):
        assert process.poll() is None
        await asyncio.sleep(0.005)


async def test_an_orphan_is_stopped_and_a_fresh_postgres_started(tmp_path: Path) -> None:
    cluster = await made(tmp_path)
    with postgres_without_server(cluster, tmp_path / "postgres.lock") as orphan:
        await ready(cluster, orphan)
        async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
            assert postgres.pid != orphan.pid
            assert orphan.wait() == 0, "stopped in good order, not killed"
            assert await scalar(postgres.url, "SELECT 1") == 1


async def test_a_postgres_started_by_hand_is_left_alone_and_named(tmp_path: Path) -> None:
    cluster = await made(tmp_path)
    with postgres_without_server(cluster, tmp_path / "another.lock") as by_hand:
        await ready(cluster, by_hand)
        told = await refusal(tmp_path)
        assert f"(pid {by_hand.pid})" in told
        assert str(cluster) in told
        assert by_hand.poll() is None
        assert (cluster / "postmaster.pid").exists()
    async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
        assert await scalar(postgres.url, "SELECT 1") == 1


@pytest.mark.parametrize("reused_by", ["a stranger", "the Postgres of another cluster", "nobody", "garbage"])
async def test_a_stale_pid_file_neither_stops_the_start_nor_anybody_else(
    reused_by: str, tmp_path: Path
) -> None:
    cluster = await made(tmp_path / "data")
    async with EmbeddedPostgres(tmp_path / "other", settings=QUICK) as other:
        stranger = await asyncio.create_subprocess_exec("sleep", "600")
        gone = await asyncio.create_subprocess_exec("true")
        await gone.wait()
        pids = {"a stranger": stranger.pid, "the Postgres of another cluster": other.pid, "nobody": gone.pid}
        line = str(pids.get(reused_by, "\x00?"))
        (cluster / "postmaster.pid").write_text(f"{line}\n{cluster}\n1\n5432\n\n\n1 1\nready   \n")
        try:
            async with EmbeddedPostgres(tmp_path / "data", settings=QUICK) as postgres:
                assert await scalar(postgres.url, "SELECT 1") == 1
            assert is_running(stranger.pid)
            assert await scalar(other.url, "SELECT 1") == 1
        finally:
            stranger.kill()
            await stranger.wait()


async def test_a_half_finished_cluster_is_not_taken_for_one(tmp_path: Path) -> None:
    half = tmp_path / "postgres.new-abc" / "c"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert not EmbeddedPostgres.exists(tmp_path)
    await made(tmp_path)
    assert EmbeddedPostgres.exists(tmp_path)
    assert not half.parent.exists()


async def test_a_server_killed_while_it_makes_its_cluster_starts_again(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bins.embedded_owner", str(tmp_path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    while not list(tmp_path.glob("postgres.new-*/c/PG_VERSION")):
        assert process.returncode is None
        await asyncio.sleep(0.001)
    process.kill()
    await process.wait()
    assert not EmbeddedPostgres.exists(tmp_path)
    await made(tmp_path)
    assert not list(tmp_path.glob("postgres.new-*"))


async def test_settings_of_the_environment_do_not_mislead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGDATA": "/nowhere", "PGHOST": "nowhere.invalid"}.items():
        monkeypatch.setenv(name, value)
    async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
        assert await scalar(postgres.url, "SELECT 1") == 1


async def test_a_relative_data_directory_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with EmbeddedPostgres(Path("data"), settings=QUICK) as postgres:
        monkeypatch.chdir("/")
        assert await scalar(postgres.url, "SELECT 1") == 1
    assert EmbeddedPostgres.exists(tmp_path / "data")


async def test_the_data_directory_may_be_moved(tmp_path: Path) -> None:
    await made(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    await made(tmp_path / "after")


async def test_another_versions_cluster_is_refused_with_both_versions(tmp_path: Path) -> None:
    cluster = await made(tmp_path)
    (cluster / "PG_VERSION").write_text("15\n")
    told = await refusal(tmp_path)
    assert f"{cluster} was made by Postgres 15 and this is Postgres 18" in told


async def test_a_directory_that_is_no_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    assert "is not a Postgres cluster (no PG_VERSION)" in await refusal(tmp_path)
    assert not EmbeddedPostgres.exists(tmp_path)


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = await refusal(tmp_path / "file" / "data")
    assert (
        told == f"cannot use the data directory {tmp_path}/file/data: Not a directory ({tmp_path}/file/data)"
    )


async def test_what_postgres_complains_about_is_passed_on_with_the_log(tmp_path: Path) -> None:
    await made(tmp_path)
    told = await refusal(tmp_path, {"shared_buffers": "plenty"})
    assert told.startswith("Postgres did not start: FATAL:")
    assert '"shared_buffers"' in told
    assert told.endswith(f"(log: {tmp_path}/postgres.log)")
    await made(tmp_path)


async def test_a_full_disk_while_making_the_cluster_is_told_and_leaves_no_cluster(tmp_path: Path) -> None:
    # A limit on the size of files stands in for the disk: initdb meets an error in the middle of writing.
    code = (
        "from resource import RLIMIT_FSIZE, setrlimit; setrlimit(RLIMIT_FSIZE, (100_000, 100_000));"
        "from tests.bins.embedded_owner import main; main()"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(tmp_path)),
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    _, complaint = await process.communicate()
    assert process.returncode == 1
    assert complaint.decode().startswith("Error: cannot make a Postgres cluster: ")
    assert f"(log: {tmp_path}/postgres.log)" in complaint.decode()
    assert not EmbeddedPostgres.exists(tmp_path)
    await made(tmp_path)


async def test_a_log_that_grew_large_is_moved_away_at_the_next_start(tmp_path: Path) -> None:
    await made(tmp_path)
    log = tmp_path / "postgres.log"
    with log.open("ab") as file:
        file.truncate(LOG_BYTES_MAX + 1)
    await made(tmp_path)
    assert (tmp_path / "postgres.log.1").stat().st_size == LOG_BYTES_MAX + 1
    assert log.stat().st_size < LOG_BYTES_MAX
    assert b"ready to accept connections" in log.read_bytes()


def test_a_program_that_still_writes_goes_on_at_the_start_of_a_trimmed_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * (LOG_BYTES_MAX + 1))
        trim_log(log)
        writer.write(b"next\n")
    assert log.read_bytes() == b"next\n"
    trim_log(log)
    assert log.read_bytes() == b"next\n"


def test_the_telling_lines_of_a_log_are_picked_from_where_the_start_began(tmp_path: Path) -> None:
    log = tmp_path / "log"
    before = b"2026 UTC [1] FATAL:  an old story\n"
    log.write_bytes(before + b"2026 UTC [2] LOG:  hello\n2026 UTC [2] FATAL:  no room\n\xff\n")
    assert log_problem(log, len(before)) == "FATAL:  no room"
    assert log_problem(log, 10**9) == "it wrote nothing"
    assert log_problem(tmp_path / "none", 0) == "it wrote nothing"


async def test_a_server_that_asks_for_another_clients_role_finds_none(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path, settings=QUICK) as postgres:
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
            await asyncpg.connect(postgres.url, user="somebody")
        assert is_running(postgres.pid)
