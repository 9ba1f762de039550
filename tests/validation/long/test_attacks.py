"""`less-sync validate` while something happens to it: signals, a closed terminal, output that is lost."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from less_sync.validation.outcome import Broken
from less_sync.validation.scratch import Scratch
from tests.conftest import DatabaseServer
from tests.validation.long.test_scratch import databases, nothing_is_left
from tests.validation.scratches import plan

LESS_SYNC: Final = Path(sys.executable).parent / "less-sync"
END_S: Final = 40.0
NEVER_UP: Final = "import time; open({begun!r}, 'w'); time.sleep(600)"
"""A candidate that starts and answers nobody."""
ITS_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])"""
"""Becomes a program whose terminal is the one on its standard input."""


class Run:
    """A run of the one command, in a folder of its own, on scratch that is never ready."""

    def __init__(self, folder: Path, backup: Path, database_url: str) -> None:
        self.folder, self.temporary = folder, folder / "temporary"
        self.temporary.mkdir()
        self.begun, self.run_id = folder / "begun", os.urandom(16)
        program = folder / "candidate.py"
        program.write_text(NEVER_UP.format(begun=str(self.begun)))
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder),
            "TMPDIR": str(self.temporary),
            "TERM": "xterm",
            "SCRATCH_DATABASE_URL": database_url,
            "CANDIDATE_COMMAND": f"{sys.executable} {program}",
        }
        words = ["validate", "--backup", str(backup), "--lane", "service", "--out", str(folder / "report")]
        self.words = [str(LESS_SYNC), *words, "--run-id", self.run_id.hex()]

    async def started(self, **pipes: Any) -> Process:
        """Begin, and wait until the candidate has been started."""
        running = await asyncio.create_subprocess_exec(
            *self.words, env=self.environment, cwd=self.folder, start_new_session=True, **pipes
        )
        async with asyncio.timeout(END_S):
            while not self.begun.exists():  # noqa: ASYNC110  # another process makes it
                await asyncio.sleep(0.02)
        return running

    @property
    def state(self) -> Any:
        """What the report's folder says of it."""
        return json.loads((self.folder / "report" / "run.json").read_bytes())

    async def left(self, database_url: str) -> bool:
        """Whether anything of scratch is there still."""
        return bool(await databases(database_url, self.run_id)) or not await nothing_is_left(self.temporary)


@pytest.fixture
def run(tmp_path: Path, made_backup: Path, database_server: DatabaseServer) -> Run:
    return Run(tmp_path, made_backup, database_server.url)


async def ended(running: Process) -> int:
    return await asyncio.wait_for(running.wait(), END_S)


@pytest.mark.parametrize(
    ("signals", "status", "state"),
    [
        ([signal.SIGINT], 3, "finished"),
        ([signal.SIGHUP], 3, "finished"),
        ([signal.SIGTERM, signal.SIGHUP], 130, "running"),
    ],
)
async def test_signals_while_scratch_is_made_leave_nothing(
    run: Run, database_server: DatabaseServer, signals: Sequence[signal.Signals], status: int, state: str
) -> None:
    running = await run.started(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for number in signals:
        running.send_signal(number)
        await asyncio.sleep(0.01)  # one by one: pending signals of one kind are one
    assert await ended(running) == status
    assert run.state["state"] == state
    assert not await run.left(database_server.url)


async def test_a_hang_up_that_is_ignored_ends_nothing(run: Run, database_server: DatabaseServer) -> None:
    run.words = ["nohup", *run.words]
    running = await run.started(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.3)
    assert running.returncode is None
    running.send_signal(signal.SIGTERM)
    assert await ended(running) == 3
    assert not await run.left(database_server.url)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of one; the first may be closed meanwhile."""
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        for one in (ours, theirs):
            try:
                os.close(one)
            except OSError:
                continue


async def test_a_terminal_that_is_closed_interrupts_the_run_and_the_report_is_kept(
    run: Run, database_server: DatabaseServer
) -> None:
    run.words = [sys.executable, "-c", ITS_TERMINAL, *run.words]
    with terminal() as (ours, theirs):
        running = await run.started(stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.close(ours)
        assert await ended(running) == 3
    assert (run.state["state"], run.state["exit"]) == ("finished", 3)
    assert not await run.left(database_server.url)


@pytest.fixture
def quick(tmp_path: Path) -> list[str]:
    """The words of a run of one check that passes."""
    (tmp_path / "backups").mkdir()
    argv = json.dumps([sys.executable, "-c", "pass"])
    (tmp_path / "own.toml").write_text(
        'format = 1\nkind = "selfhost"\nname = "own"\ntitle = "A small one"\nvalid_for_s = 3600\n'
        f'[[checks]]\nid = "one"\nuses = "command"\nlane = "custom"\nwith = {{ argv = {argv}, exit = 0 }}\n'
    )
    words = ["validate", "--backup", "backups", "--manifest", "own.toml", "--mode", "baseline"]
    return [str(LESS_SYNC), *words, "--out", "report"]


def finished(folder: Path) -> bool:
    state: str = json.loads((folder / "report" / "run.json").read_bytes())["state"]
    return state == "finished"


async def test_lines_go_to_the_file_and_the_bar_alone_to_the_terminal(
    quick: Sequence[str], tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm"}
    with terminal() as (ours, theirs):
        running = await asyncio.create_subprocess_exec(
            *quick, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=theirs
        )
        out, _ = await asyncio.wait_for(running.communicate(), END_S)
        shown = os.read(ours, 65536).decode()
    assert running.returncode == 0
    assert out.decode().splitlines()[0] == "[passed] one (required)"
    assert "passed" not in shown
    assert "checks" in shown


async def test_output_that_is_lost_costs_the_go_and_not_the_report(
    quick: Sequence[str], tmp_path: Path
) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with Path("/dev/full").open("wb") as full:  # noqa: ASYNC230  # opens at once
        running = await asyncio.create_subprocess_exec(
            *quick, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE
        )
        _, err = await asyncio.wait_for(running.communicate(), END_S)
    assert running.returncode == 1
    assert err.decode() == "Error: cannot write to standard output: no space left on device\n"
    assert finished(tmp_path)


async def test_a_database_server_that_is_gone_is_told_and_ends_nothing_else(tmp_path: Path) -> None:
    async with Scratch(plan(tmp_path)) as scratch:
        made = await scratch.databases()
        name = await made.create()
        pid_file = await scratch.folder() / "postgres" / "postgres" / "postmaster.pid"
        os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)
        with pytest.raises(Broken, match="scratch-database"):
            await made.create()
        with pytest.raises(Broken, match="scratch-database"):
            await made.size_bytes(name)
        await made.drop(name)
        assert name in made.made
    assert await nothing_is_left(tmp_path)


def as_role(url: str, role: str, password: str) -> str:
    """The same server for another role."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{place}"))


async def test_a_role_that_may_not_make_databases_is_told_with_the_reason(
    tmp_path: Path, database_server: DatabaseServer
) -> None:
    role, password = f"{database_server.run}_nobody", "a-password-to-look-for"
    admin = await asyncpg.connect(database_server.url)
    await admin.execute(f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{password}'")
    try:
        async with Scratch(
            plan(tmp_path, database_url=as_role(database_server.url, role, password))
        ) as scratch:
            with pytest.raises(Broken, match="scratch-database") as caught:
                await (await scratch.databases()).create()
        (line,) = caught.value.lines
        assert line == "the Postgres of scratch makes no database: permission denied to create database"
        assert password not in line
    finally:
        await admin.execute(f'DROP ROLE "{role}"')
        await admin.close()
