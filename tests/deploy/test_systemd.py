"""The systemd units: by systemd's own programs, and their hardening with a server and its Postgres."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from tests.bins.test_server import push, signed_in_at
from tests.deploy.confined import allowed_calls, settings
from tests.deploy.debian import program
from tests.wire.command import ROOT, kept_variables

UNITS: Final = ROOT / "deploy" / "systemd"
SERVICE: Final = UNITS / "less-sync.service"
BACKUP: Final = UNITS / "less-sync-backup.service"
TIMEOUT_S: Final = 60.0
SHUTDOWN_GRACE_S: Final = 8
"""The default of SHUTDOWN_GRACE_SECONDS."""
TARGETS: Final = (
    "sysinit",
    "basic",
    "shutdown",
    "network-online",
    "multi-user",
    "timers",
    "time-set",
    "time-sync",
)
EXPOSURE_TENTHS_MAX: Final = 15
NOBODY: Final = "65534"
AS_NOBODY: Final = (
    *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
    # The interpreter may lie below root's home.
    *(f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
)
LISTENING: Final = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
FORBIDDEN: Final = {
    "a network link": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "a priority": "import os; os.setpriority(os.PRIO_PROCESS, 0, 0)",
    "a mount": "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); "
    "c.umount(b'/') and exec('raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))')",
    "code in writable memory": "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
}


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Ask systemd-analyze."""
    used = program("systemd-analyze", "systemd")
    env = {**os.environ, **used.environment}
    return subprocess.run(
        [used.path, *arguments], env=env, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


def verified(root: Path, units: dict[str, str]) -> tuple[int, list[str]]:
    """What systemd says of these units on a system that has what they ask for."""
    for name in ("opt/less-sync/bin/less-sync", "bin/kill"):
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    place = root / "etc/systemd/system"
    place.mkdir(parents=True)
    for target in TARGETS:
        (place / f"{target}.target").write_text("[Unit]\n")
    for name, text in units.items():
        (place / name).write_text(text)
    done = analyze("verify", f"--root={root}", "--man=no", *units)
    return done.returncode, [line for line in done.stderr.splitlines() if "less-sync" in line]


def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    units = {path.name: path.read_text() for path in UNITS.iterdir() if path.suffix in (".service", ".timer")}
    assert len(units) == 3
    assert verified(tmp_path / "good", units) == (0, [])
    service = units[SERVICE.name]
    faulty = service.replace("ProtectHome=", "ProtectHouse=").replace("ExecReload=", "ExecRelode=")
    _, said = verified(tmp_path / "bad", {SERVICE.name: faulty})
    unknown = [name for line in said for name in ("ProtectHouse", "ExecRelode") if name in line]
    assert set(unknown) == {"ProtectHouse", "ExecRelode"}


@pytest.mark.parametrize("unit", [SERVICE, BACKUP], ids=["server", "backup"])
def test_systemd_calls_the_units_hardly_exposed(unit: Path) -> None:
    done = analyze("security", "--offline=yes", f"--threshold={EXPOSURE_TENTHS_MAX}", "--no-pager", str(unit))
    assert done.returncode == 0, done.stdout[-200:]


def test_the_server_has_time_to_stop_and_reads_the_file_again_that_systemd_has_read() -> None:
    unit = settings(SERVICE)
    assert int(unit["TimeoutStopSec"][0]) > SHUTDOWN_GRACE_S + 10
    (file,) = unit["EnvironmentFile"]
    assert f"ENV_FILE={file}" in unit["Environment"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert (unit["Type"], unit["Restart"], unit["KillMode"]) == (["exec"], ["on-failure"], ["mixed"])


def test_the_backup_is_hardened_like_the_server_and_made_by_the_same_user() -> None:
    server, backup = settings(SERVICE), settings(BACKUP)
    alike = {
        name: value
        for name, value in server.items()
        if re.match("No|Cap|Amb|Pro|Priv|Res|Lock|Mem|Sys", name)
    }
    del alike["Restart"], alike["RestartSec"]
    assert len(alike) > 20
    assert {name: backup.get(name) for name in alike} == alike
    assert backup["User"] == server["User"]
    assert "u less-sync " in (UNITS / "less-sync.sysusers.conf").read_text()


@asynccontextmanager
async def confined(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program under the server's hardening, by an unprivileged user."""
    calls = ",".join(sorted(await asyncio.to_thread(allowed_calls, settings(SERVICE)["SystemCallFilter"])))
    process = await asyncio.create_subprocess_exec(
        *(AS_NOBODY if os.getuid() == 0 else ()),
        *(sys.executable, "-m", "tests.deploy.confined", str(SERVICE), calls, sys.executable, *command),
        cwd=ROOT,
        env={**kept_variables(), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("what", FORBIDDEN)
async def test_the_hardening_of_this_test_forbids(what: str) -> None:
    async with confined("-c", FORBIDDEN[what]) as process:
        out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 1
    assert b"Operation not permitted" in out


async def test_the_server_and_its_own_postgres_work_under_the_hardening() -> None:
    with tempfile.TemporaryDirectory(prefix="less-sync-unit-") as folder:
        os.chmod(folder, 0o777)
        data = Path(folder, "data")
        line = (
            "-m",
            "less_sync.bins.commands.main",
            "serve",
            "--data-dir",
            str(data),
            "--listen",
            "127.0.0.1:0",
        )
        async with confined(*line) as process:
            assert process.stdout is not None
            async with asyncio.timeout(TIMEOUT_S):
                while not (found := LISTENING.search((await process.stdout.readline()).decode())):
                    assert process.returncode is None
            socket = await signed_in_at(int(found[1]), data)
            assert await push(socket, str(uuid4())) == {"ok": True, "cursor": 1}
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.communicate(), TIMEOUT_S)
        assert process.returncode == 0
        assert {path.stat().st_mode & 0o77 for path in data.iterdir()} == {0}
