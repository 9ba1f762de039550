"""A server of several processes in a terminal, as an ordinary user, and with a worker killed under load."""

import asyncio
import contextlib
import os
import pty
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import psutil  # type: ignore[import-untyped]  # ships no types

from less_sync import PullRecord, PushChange, RequestFailed, ServerUnavailable, SyncClient, personal_space
from less_sync.bins.dev import DevPeople
from tests.bins.test_server import signed_in_at
from tests.cluster.node import is_root, node, said, until, until_gone, workers_of
from tests.wire.client import Closed
from tests.wire.command import ROOT, kept_variables
from tests.wire.process import LISTENING

TIMEOUT_S = 60.0
COMMAND = [sys.executable, "-m", "less_sync.bins.commands.main", "serve", "--workers", "2"]
PUSHERS = 8
NOBODY = 65534


class Terminal:
    """A command in a terminal of its own, as its foreground process."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(command[0], command, environment)
        os.set_blocking(self._handle, False)
        self.shown = ""

    def press(self, key: bytes) -> None:
        os.write(self._handle, key)

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self._handle)

    async def until_shown(self, text: str) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while text not in self.shown:
                with contextlib.suppress(BlockingIOError):
                    self.shown += os.read(self._handle, 65536).decode(errors="replace")
                await asyncio.sleep(0.02)

    async def status(self) -> int:
        """How it ends."""
        return await asyncio.wait_for(asyncio.to_thread(lambda: os.waitpid(self.pid, 0)[1]), TIMEOUT_S)


async def test_ctrl_c_in_a_terminal_drains_all_workers(database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "LISTEN_ADDR": "127.0.0.1:0"}
    terminal = Terminal([*COMMAND, "--dev"], kept_variables() | settings)
    await terminal.until_shown("for operators:")
    found = LISTENING.search(terminal.shown)
    assert found
    workers = psutil.Process(terminal.pid).children(recursive=True)
    clients = [await signed_in_at(int(found[1]), tmp_path) for _ in range(8)]
    terminal.press(b"\x03")
    for client in clients:
        assert await client.receive(TIMEOUT_S) == Closed(1001, "server shutting down")
    assert await terminal.status() == 0
    await terminal_closed(terminal, workers)


async def test_a_terminal_that_goes_away_takes_the_server_with_it(database_url: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path), "LISTEN_ADDR": "127.0.0.1:0"}
    terminal = Terminal([*COMMAND, "--dev"], kept_variables() | settings)
    await terminal.until_shown("for operators:")
    workers = psutil.Process(terminal.pid).children(recursive=True)
    terminal.hang_up()
    assert await terminal.status() == 0
    await until_gone(workers)


async def terminal_closed(terminal: Terminal, workers: list[psutil.Process]) -> None:
    terminal.hang_up()
    await until_gone(workers)


async def test_an_ordinary_user_needs_no_rights(tmp_path: Path) -> None:
    data_dir, prefix = tmp_path / "data", list[str]()
    if is_root():
        # The launcher of Postgres turns this process into `nobody`, who may read the checkout.
        data_dir.mkdir(mode=0o700)
        os.chown(data_dir, NOBODY, NOBODY)
        code = (
            "import os, sys; from less_sync.bins.postgres.launcher import main;"
            "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT);"
            f"main([str(os.getppid()), str(fd), '{NOBODY}', '{NOBODY}', *sys.argv[2:]])"
        )
        prefix = [sys.executable, "-c", code, str(tmp_path / "other.lock")]
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *COMMAND,
        cwd=ROOT,
        env=kept_variables() | {"DATA_DIR": str(data_dir), "LISTEN_ADDR": "127.0.0.1:0", "TMPDIR": "/tmp"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    shown: list[str] = []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not shown or "for operators:" not in shown[-1]:
                read = await process.stdout.readline()
                assert read, shown
                shown.append(read.decode())
        processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert {one.uids().effective for one in processes} == {data_dir.stat().st_uid}
        assert data_dir.stat().st_uid != 0
    finally:
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
    await until_gone(processes)


async def test_no_acknowledged_push_is_lost_when_a_worker_is_killed_under_load(
    database_url: str, tmp_path: Path
) -> None:
    async with node(tmp_path, DATABASE_URL=database_url) as running, AsyncExitStack() as stack:
        url = f"ws://127.0.0.1:{running.port}/api/v1/ws"
        stop, people = asyncio.Event(), DevPeople(tmp_path)
        tokens = [await asyncio.to_thread(people.token, f"user{number}") for number in range(PUSHERS)]
        clients = [await stack.enter_async_context(SyncClient(url, fixed(token))) for token in tokens]
        pushers = [
            asyncio.create_task(push_until(stop, client, str(personal_space(token))))
            for client, token in zip(clients, tokens, strict=True)
        ]
        for round_ in (1, 2):
            await asyncio.sleep(0.5)
            workers_of(running)[0].kill()
            await until(lambda: len(said(running, "a worker is ready")) == round_)  # noqa: B023  # called at once
        await asyncio.sleep(0.5)
        stop.set()
        acknowledged = [await asyncio.wait_for(pusher, TIMEOUT_S) for pusher in pushers]
        for client, token, records in zip(clients, tokens, acknowledged, strict=True):
            events = [event async for event in client.pull(str(personal_space(token)), 0)]
            assert records
            assert records <= {event.id for event in events if isinstance(event, PullRecord)}


async def push_until(stop: asyncio.Event, client: SyncClient, space: str) -> set[str]:
    """Push new records one after the other; those that were acknowledged."""
    acknowledged = set()
    while not stop.is_set():
        change = PushChange(id=str(uuid4()), blob=b"x", expected_cursor=0)
        with contextlib.suppress(RequestFailed, ServerUnavailable):
            if (await client.push(space, [change])).error == "":
                acknowledged.add(change.id)
        await asyncio.sleep(0.01)
    return acknowledged


def fixed(token: str) -> Callable[[], Awaitable[str]]:
    async def ask() -> str:
        return token

    return ask
