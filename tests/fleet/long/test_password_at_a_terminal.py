"""The password of an operator, asked for at a terminal: twice, and not shown."""

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet.people import PASSWORD, cheap_passwords
from tests.fleet.rig import KEY, Fleet

pytestmark = pytest.mark.anyio
COMMAND_S_MAX = 60.0


def at_terminal(url: str, *answers: str) -> tuple[int, str]:
    """Run `admin create` on a terminal of its own: its exit code, and all that the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("less-sync"), "fleet", "admin", "create", "ada"],
        env={"LESS_SYNC_FLEET_URL": url, "LESS_SYNC_FLEET_KEY": KEY, "PATH": os.environ["PATH"]},
        preexec_fn=lambda: os.login_tty(theirs),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    left = list(answers)
    try:
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if left and shown.endswith(b": "):
                os.write(ours, f"{left.pop(0)}\n".encode())
        return process.wait(COMMAND_S_MAX), shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)


async def test_it_is_asked_for_twice_and_never_shown(fleet: Fleet) -> None:
    cheap_passwords(fleet)
    code, shown = await asyncio.to_thread(at_terminal, fleet.url, PASSWORD, PASSWORD)
    assert code == 0, shown
    assert [line.strip() for line in shown.split("\n")] == ["Password:", "Again:", "made ada, admin", ""]
    assert await fleet.value("SELECT username FROM operators") == "ada"


async def test_two_that_differ_make_nobody(fleet: Fleet) -> None:
    code, shown = await asyncio.to_thread(at_terminal, fleet.url, PASSWORD, PASSWORD.upper())
    assert code == 2
    assert "these were two passwords" in shown
    assert PASSWORD not in shown
    assert await fleet.value("SELECT count(*) FROM operators") == 0
