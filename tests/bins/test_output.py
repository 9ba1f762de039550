"""Output that cannot be written is one line on standard error and exit status 1, whatever the command."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.bins.commands import TIMEOUT_S, run_less_sync
from tests.client.sharing.people import Somebody, Town
from tests.wire.command import kept_variables
from tests.wire.fork_server import COMMANDS

FULL = "Error: cannot write to standard output: no space left on device\n"
BROKEN = "Error: cannot write to standard output: broken pipe\n"
CLOSED = "Error: standard output is closed\n"
SINKS = {"to a pipe": BROKEN, ">/dev/full": FULL, ">&-": CLOSED}


@pytest.fixture
async def alice(tmp_path: Path, database_url: str) -> AsyncIterator[Somebody]:
    """Somebody with a running server, a key, a shared space, and files to push."""
    town = Town(tmp_path, database_url)
    alice = town.person("alice")
    async with town.server():
        (alice.folder("notes") / "a").write_text("a")
        assert (await alice.run("pull", alice.folder("other"))).status == 0
        assert (await alice.run("space", "create", alice.folder("plans"))).status == 0
        yield alice
    await town.end()


async def start_into(
    sink: str, words: list[str], env: dict[str, str], cwd: Path, pipe: int
) -> asyncio.subprocess.Process:
    """Start a command in a new interpreter, as a shell does."""
    command = [sys.executable, "-c", f"from {COMMANDS[words[0]]} import main; main()", *words[1:]]
    return await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", f'exec "$@" {sink if sink.startswith(">") else ""}', "sh", *command),
        env={**kept_variables(), **env},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=subprocess.PIPE,
    )


async def run_into(sink: str, words: list[str], env: dict[str, str], cwd: Path) -> tuple[int | None, str]:
    """Exit status and standard error."""
    with closed_pipe() as pipe:
        process = await start_into(sink, words, env, cwd, pipe)
    _, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode, err.decode()


@contextmanager
def closed_pipe() -> Iterator[int]:
    """The end for writing to a pipe that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    yield theirs
    os.close(theirs)


@pytest.mark.parametrize("sink", SINKS)
async def test_a_full_device_or_a_closed_pipe_is_one_line(alice: Somebody, sink: str) -> None:
    lines = (
        "less-sync --version",
        "less-sync push --help",
        "less-sync token --user alice",
        "less-sync key export",
        "less-sync push alice-notes",
        "less-sync push alice-other --json",
        "less-sync space members alice-plans",
        "less-sync space create more --json",
        "less-sync migrate version",
        "migrate version",
    )
    for line in lines[: 3 if sink == ">&-" else None]:
        env = {**alice.environment(), "DATABASE_URL": alice.town.database_url}
        assert await run_into(sink, line.split(), env, alice.town.parent) == (1, SINKS[sink]), line
    done = await alice.run("push", "alice-notes")
    assert (done.status, done.err) == (0, "")


async def test_a_server_outlives_its_log_and_ends_in_order(tmp_path: Path, database_url: str) -> None:
    settings = {"DATABASE_URL": database_url, "DATA_DIR": str(tmp_path)}
    for sink in SINKS.keys() - {">&-"}:
        with closed_pipe() as pipe:
            process = await start_into(
                sink, ["less-sync", "serve", "--dev", "--listen", "127.0.0.1:0"], settings, tmp_path, pipe
            )
        assert process.stderr is not None
        async with asyncio.timeout(TIMEOUT_S):
            assert b"listens on" in await process.stderr.readline()
            process.terminate()
            rest = await process.stderr.read()
            assert (await process.wait(), b"Error" in rest) == (0, False)


async def test_names_that_the_terminal_has_no_letters_for_are_escaped(alice: Somebody) -> None:
    (alice.folder("notes") / "\u65e5").touch()
    env = {**alice.environment(), "PYTHONIOENCODING": "ascii"}
    pushed = await run_less_sync("push", "alice-notes", env=env, cwd=alice.town.parent, fresh=True)
    assert (pushed.status, pushed.err) == (0, "")
    assert "pushed: \\u65e5\n" in pushed.out
