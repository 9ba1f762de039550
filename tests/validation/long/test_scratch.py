"""Scratch is private, gets nothing of the operator's, and leaves nothing behind, however a run ends."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from less_sync.validation.inputs import Input, Inputs
from less_sync.validation.outcome import Blocked, Broken, Faulty
from less_sync.validation.redact import Redactor
from less_sync.validation.scratch import Copy, Scratch, scratch_plan
from less_sync.validation.scratch_server import LOG_BYTES_MAX, Log, free_ports
from tests.conftest import DatabaseServer
from tests.integration.waiting import until
from tests.validation.scratches import ENVIRONMENT, LESS_SYNC, plan, tools

ROOT: Final = Path(__file__).resolve().parent.parent.parent.parent


def quiet(_line: str) -> None:
    """For those whose words nobody reads."""


async def databases(url: str, run_id: bytes) -> list[str]:
    """Those of a run that are there."""
    connection = await asyncpg.connect(url)
    try:
        like = f"lsv_{run_id.hex()[:8]}_%"
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE $1", like)
        return sorted(row["datname"] for row in rows)
    finally:
        await connection.close()


def processes(mark: str) -> list[int]:
    """Those in whose environment or command line a text stands, and that are no zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            state = (folder / "stat").read_text().rsplit(")")[-1].split()[0]
        except OSError:
            continue
        if mark.encode() in told and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


async def nothing_is_left(folder: Path) -> bool:
    return not processes(str(folder)) and not list(folder.glob("less-sync-validate-*"))


async def test_all_of_it_lies_in_one_private_folder_that_is_gone_afterwards(
    made_backup: Path, tmp_path: Path
) -> None:
    async with Scratch(plan(tmp_path, backup=made_backup)) as scratch:
        folder = await scratch.folder()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        restored = await scratch.restored(quiet)
        assert (await scratch.restored(quiet)) is restored
        staging = await scratch.staging(quiet)
        assert (staging.target.name, staging.target.spec.scratch) == ("staging", True)
        assert (await staging.target.http.get("/health")).status_code == 200
        assert (await scratch.staging(quiet)) is staging
        # Its copy is another database and another folder, with the same contents in it.
        contents = [path for path in restored.files.rglob("*") if path.is_file()]
        assert contents
        assert all(path.stat().st_nlink == 2 for path in contents)
        assert {path.parent for path in tmp_path.rglob("server.log")} <= set(folder.glob("candidate-*"))
    assert await nothing_is_left(tmp_path)


async def test_a_copy_is_ones_own_and_removed_when_it_is_no_longer_needed(
    session_scratch: Scratch, database_server: DatabaseServer
) -> None:
    restored = await session_scratch.restored(quiet)
    before = await databases(database_server.url, session_scratch.plan.run_id)
    async with session_scratch.copy(restored) as copy:
        connection = await asyncpg.connect(copy.url)
        await connection.execute("DELETE FROM files")
        await connection.close()
        assert copy.database in await databases(database_server.url, session_scratch.plan.run_id)
        next(path for path in copy.files.rglob("*") if path.is_file()).unlink()
    assert await databases(database_server.url, session_scratch.plan.run_id) == before
    assert not copy.files.exists()
    connection = await asyncpg.connect(restored.url)
    assert await connection.fetchval("SELECT count(*) FROM files") == 6
    await connection.close()
    assert sum(path.is_file() for path in restored.files.rglob("*")) == 6


async def test_two_copies_are_there_at_most(session_scratch: Scratch) -> None:
    restored = await session_scratch.restored(quiet)
    async with session_scratch.copy(restored), session_scratch.copy(restored):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), session_scratch.copy(restored):
                pass
    async with session_scratch.copy(restored):
        pass


# Servers.


@asynccontextmanager
async def with_candidate(
    database_server: DatabaseServer, folder: Path, source: str
) -> AsyncIterator[tuple[Scratch, Copy, list[str]]]:
    """A scratch whose candidate is a program of one's own."""
    made = plan(folder, candidate=(sys.executable, "-c", source, "{port}"), database_url=database_server.url)
    lines: list[str] = []
    async with Scratch(made) as scratch, scratch.empty() as copy:
        yield scratch, copy, lines


SERVES: Final = """
import http.server, json, os, pathlib, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
    def log_message(self, *words): pass
pathlib.Path(os.environ['DATA_DIR']).mkdir(parents=True)
(pathlib.Path(os.environ['DATA_DIR']) / 'environment.json').write_text(json.dumps(dict(os.environ)))
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()
"""


async def test_a_server_gets_what_it_needs_and_nothing_of_the_operators(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    async with with_candidate(database_server, tmp_path, SERVES) as (scratch, copy, lines):
        operator = {"NATS_URL": "nats://x", "REPLICA_DATABASE_URL": "postgres://x", "FILE_S3_BUCKET": "x"}
        mine = replace(scratch.plan.tools, environment=ENVIRONMENT | operator)
        scratch = Scratch(replace(scratch.plan, tools=mine, run_id=os.urandom(16)))
        async with scratch, scratch.candidate(copy, lines.append) as server:
            path = server.setting.folder / "data/environment.json"
            seen = json.loads(path.read_text())
            assert seen["LISTEN_ADDR"] == f"127.0.0.1:{server.port}"
            assert seen["DATABASE_URL"] == copy.url
            issuer, _, key_set = seen["TRUSTED_ISSUERS"].partition("=")
            assert issuer == "https://validate.invalid"
            assert key_set.startswith("http://127.0.0.1:")
            assert seen["FILE_STORAGE_PATH"] == str(copy.files)
            assert len(seen["IDENTITY_HASH_KEY"]) == 64
            assert seen["ADMIN_ADDR"] == f"127.0.0.1:{server.admin_port}"
            allowed = {
                *("PATH", "HOME", "LANG", "LC_CTYPE", "DATABASE_URL", "LISTEN_ADDR", "TRUSTED_ISSUERS"),
                *("AUDIENCES", "DATA_DIR", "ADMIN_ADDR", "IDENTITY_HASH_KEY", "LOG_FORMAT"),
                *("FILE_STORAGE_BACKEND", "FILE_STORAGE_PATH"),
            }
            assert seen.keys() <= allowed


async def test_features_that_are_declared_absent_are_left_out(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    async with with_candidate(database_server, tmp_path, SERVES) as (scratch, copy, lines):
        features = {"files": False, "rate_limits": False}
        other = Scratch(replace(scratch.plan, features=features, run_id=os.urandom(16)))
        async with other, other.candidate(copy, lines.append) as server:
            seen = json.loads((server.setting.folder / "data/environment.json").read_text())
            assert seen["FILE_STORAGE_BACKEND"] == "none"
            assert "FILE_STORAGE_PATH" not in seen
            assert "IDENTITY_HASH_KEY" not in seen


async def test_a_server_that_dies_early_is_told_with_its_last_lines(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    source = "import os\nfor n in range(40): print('line', n, os.environ['DATA_DIR'])\nraise SystemExit(5)"
    async with with_candidate(database_server, tmp_path, source) as (scratch, copy, lines):
        with pytest.raises(Faulty, match="not-started:candidate"):
            async with scratch.candidate(copy, lines.append):
                pass
    assert lines[0] == "candidate ended with status 5; it said last:"
    assert [line.split()[1] for line in lines[1:]] == [str(number) for number in range(25, 40)]
    assert all("SCRATCH/" in line and str(tmp_path) not in line for line in lines[1:])


async def test_a_server_that_never_becomes_healthy_is_stopped_with_its_children(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    source = "import subprocess, sys, time; subprocess.Popen(['sleep', '600']); print('up'); time.sleep(600)"
    async with with_candidate(database_server, tmp_path, source) as (scratch, copy, lines):
        with pytest.raises(Faulty, match="not-healthy:candidate"):
            async with scratch.candidate(copy, lines.append, ready_s=1.0):
                pass
        assert not processes(f"DATA_DIR={await scratch.folder()}")
    assert lines == ["candidate is not healthy; it said nothing"]


DRIPS: Final = """
import os, socket, time
host, _, port = os.environ["LISTEN_ADDR"].rpartition(":")
with socket.create_server((host, int(port))) as server:
    while True:
        asker, _ = server.accept()
        try:
            asker.sendall(b"HTTP/1.1 200 OK\\r\\n")
            for number in range(600):
                asker.sendall(b"X-Drop-%d: x\\r\\n" % number)
                time.sleep(0.1)
        except OSError:
            pass
"""


async def test_a_server_whose_answer_never_ends_is_not_waited_for_longer_than_another(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    async with with_candidate(database_server, tmp_path, DRIPS) as (scratch, copy, lines):
        async with asyncio.timeout(20):
            with pytest.raises(Faulty, match="not-healthy:candidate"):
                async with scratch.candidate(copy, lines.append, ready_s=1.5):
                    pass


async def test_a_server_that_ignores_the_signal_is_killed(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    source = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVES}"
    async with with_candidate(database_server, tmp_path, source) as (scratch, copy, lines):
        mark = f"DATA_DIR={await scratch.folder()}"

        async def interrupted() -> None:
            async with scratch.candidate(copy, lines.append):
                assert processes(mark)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await interrupted()
        assert not processes(mark)


async def test_a_command_that_is_not_there_is_told(database_server: DatabaseServer, tmp_path: Path) -> None:
    made = plan(tmp_path, candidate=("/nowhere/less-sync",), database_url=database_server.url)
    async with Scratch(made) as scratch, scratch.empty() as copy:
        with pytest.raises(Broken, match="command-not-found"):
            async with scratch.candidate(copy, quiet):
                pass


async def test_a_log_is_bounded_and_its_last_lines_are_kept(tmp_path: Path) -> None:
    log, stream = Log(tmp_path / "log"), asyncio.StreamReader(limit=2**30)
    stream.feed_data(b"first\n" + b"x" * LOG_BYTES_MAX + b"\nlast\n")
    stream.feed_eof()
    await log.keep(stream)
    assert log.path.stat().st_size == LOG_BYTES_MAX
    assert log.dropped_bytes == len(b"first\n\nlast\n")
    assert log.tail.lines[-1] == "last"


def test_ports_are_free_and_none_that_the_system_gives_out_by_itself() -> None:
    ports = free_ports(20)
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(ports)) == 20
    assert all(port < first for port in ports)


# What is missing.


async def test_a_run_without_scratch_has_none() -> None:
    async with Scratch() as scratch:
        with pytest.raises(Blocked, match="scratch"):
            await scratch.backup()
        with pytest.raises(Blocked, match="scratch"):
            await scratch.databases()


async def test_a_postgres_that_is_not_there_blocks(tmp_path: Path) -> None:
    async with Scratch(plan(tmp_path, database_url="postgresql://127.0.0.1:1/x")) as scratch:
        with pytest.raises(Blocked, match="scratch:database"):
            await scratch.databases()


async def test_what_failed_to_be_restored_fails_for_all_that_need_it(
    database_server: DatabaseServer, made_backup: Path, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    refuses = (sys.executable, "-c", f"open({str(calls)!r}, 'a').write('x'); raise SystemExit(7)")
    made = plan(tmp_path, less_sync=refuses, backup=made_backup, database_url=database_server.url)
    async with Scratch(made) as scratch:
        for _ in range(3):
            with pytest.raises(Faulty, match="restore-failed:7"):
                await scratch.restored(quiet)
    assert calls.read_text() == "x"


def test_a_plan_is_made_of_the_variables_of_a_run(tmp_path: Path) -> None:
    given = {
        "CANDIDATE_COMMAND": "docker run 'a b' {port}",
        "INCUMBENT_COMMAND": "old serve",
        "BACKUP_DIR": str(tmp_path),
        "SCRATCH_DATABASE_URL": "postgresql://x",
    }
    inputs = Inputs({name: Input(name, "env", text) for name, text in given.items()})
    made = scratch_plan(tools(tmp_path), bytes(16), inputs, {"files": True}, Redactor())
    assert made.candidate == ("docker", "run", "a b", "{port}")
    assert (made.incumbent, made.incumbent_kind) == (("old", "serve"), "less-sync")
    assert (made.backup, made.database_url) == (tmp_path, "postgresql://x")
    plain = scratch_plan(tools(tmp_path), bytes(16), Inputs({}), {}, Redactor())
    assert plain.candidate == (*LESS_SYNC, "serve")
    assert (plain.incumbent, plain.backup, plain.database_url) == (None, None, None)


# However a run ends.


async def whole(scratch: Scratch, up: asyncio.Event | None = None) -> None:
    """All that a run may make, one inside the other."""
    restored = await scratch.restored(quiet)
    async with scratch.copy(restored) as copy, scratch.candidate(copy, quiet):
        if up is not None:
            up.set()
        await asyncio.sleep(600)


@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.6, 1.2, 2.0, 3.5])
async def test_a_run_that_is_cancelled_anywhere_leaves_nothing(
    database_server: DatabaseServer, made_backup: Path, tmp_path: Path, after_s: float
) -> None:
    made = plan(tmp_path, backup=made_backup, database_url=database_server.url)

    async def run() -> None:
        async with Scratch(made) as scratch:
            await whole(scratch)

    task = asyncio.create_task(run())
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await nothing_is_left(tmp_path)
    assert await databases(database_server.url, made.run_id) == []


async def test_a_second_interruption_does_not_wait_and_the_rest_still_goes(
    database_server: DatabaseServer, made_backup: Path, tmp_path: Path
) -> None:
    made, up = plan(tmp_path, backup=made_backup, database_url=database_server.url), asyncio.Event()

    async def run() -> None:
        async with Scratch(made) as scratch:
            await scratch.staging(quiet)
            up.set()
            await asyncio.sleep(600)

    task = asyncio.create_task(run())
    async with asyncio.timeout(60):
        await up.wait()
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task

    async def gone() -> bool:
        return await nothing_is_left(tmp_path) and not await databases(database_server.url, made.run_id)

    await until(gone)


PROGRAM: Final = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from less_sync.validation.scratch import Scratch
from tests.validation.scratches import plan
from tests.validation.long.test_scratch import whole
async def main():
    up = asyncio.Event()
    run_id = bytes.fromhex({run!r})
    made = plan(Path({folder!r}), backup=Path({backup!r}), database_url={url!r}, run_id=run_id)
    async with Scratch(made) as scratch:
        work = asyncio.create_task(whole(scratch, up))
        await up.wait()
        print('up', flush=True)
        await work
asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_signal_ends_servers_too_and_what_a_kill_leaves_goes_a_day_later(
    database_server: DatabaseServer, made_backup: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run_id = os.urandom(16)
    source = PROGRAM.format(
        root=str(ROOT),
        folder=str(tmp_path),
        backup=str(made_backup),
        url=database_server.url,
        run=run_id.hex(),
    )
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", source),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert program.stdout is not None
        async with asyncio.timeout(60):
            assert await program.stdout.readline() == b"up\n"
            assert processes(f"DATA_DIR={tmp_path}")
            program.send_signal(number)
            await program.wait()
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()

    async def servers_gone() -> bool:
        return not processes(f"DATA_DIR={tmp_path}")

    await until(servers_gone)
    left = await databases(database_server.url, run_id)
    if number is signal.SIGINT:
        assert left == []
        assert await nothing_is_left(tmp_path)
        return
    assert len(left) == 2
    (folder,) = tmp_path.glob("less-sync-validate-*")
    os.utime(folder, (0, 0))
    await _aged(database_server.url, left[0], "2020-01-01T00:00:00Z")
    connection = await asyncpg.connect(database_server.url_of(left[1]))
    await _aged(database_server.url, left[1], "2020-01-01T00:00:00Z")
    async with Scratch(plan(tmp_path, database_url=database_server.url)) as scratch:
        await scratch.databases()
        held = await scratch.folder()
        os.utime(held, (0, 0))
        async with Scratch(plan(tmp_path, database_url=database_server.url)) as other:
            assert {held, await other.folder()} == set(tmp_path.glob("less-sync-validate-*"))
        # The one that somebody is connected to stays.
        assert await databases(database_server.url, run_id) == left[1:]
    await connection.close()
    await _aged(database_server.url, left[1], None)
    async with Scratch(plan(tmp_path, database_url=database_server.url)) as scratch:
        await scratch.databases()
        # One without a moment gets the present one first.
        assert await databases(database_server.url, run_id) == left[1:]
    await _aged(database_server.url, left[1], "2020-01-01T00:00:00Z")
    async with Scratch(plan(tmp_path, database_url=database_server.url)) as scratch:
        await scratch.databases()
        assert await databases(database_server.url, run_id) == []


async def _aged(url: str, name: str, moment: str | None) -> None:
    connection = await asyncpg.connect(url)
    text = "NULL" if moment is None else f"'less-sync validate, made {moment}'"
    await connection.execute(f'COMMENT ON DATABASE "{name}" IS {text}')
    await connection.close()


async def test_a_run_of_the_same_id_does_not_touch_the_other_ones_databases(
    database_server: DatabaseServer, tmp_path: Path
) -> None:
    run_id = os.urandom(16)
    one, other = (plan(tmp_path, database_url=database_server.url, run_id=run_id) for _ in range(2))
    async with Scratch(one) as first, first.empty() as mine:
        async with Scratch(other) as second, second.empty() as theirs:
            assert mine.database != theirs.database
        assert await databases(database_server.url, run_id) == [mine.database]
    assert await databases(database_server.url, run_id) == []
