"""`less-sync-server`, the program that deployments of the existing server start."""

import asyncio
import signal
import sys
import sysconfig
from pathlib import Path

import pytest

from less_sync.bins.commands.server import WrongUsage, parse_line
from tests.bins.commands import run_less_sync
from tests.wire.command import start_command

TIMEOUT_S = 30.0
PROGRAM = "less-sync-server"


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ([], {}),
        (["-perf-mode"], {"PERF_MODE": "true"}),
        (["--perf-mode", "--pprof-addr", "127.0.0.1:1"], {"PERF_MODE": "true", "PPROF_ADDR": "127.0.0.1:1"}),
        (["--pprof-addr=a", "--pprof-addr=:1=2"], {"PPROF_ADDR": ":1=2"}),
    ],
)
def test_the_line_says_what_a_variable_would(line: list[str], options: dict[str, str]) -> None:
    assert parse_line(line, PROGRAM) == options


@pytest.mark.parametrize(
    "line",
    [
        ["serve"],
        ["--pprof-addr"],
        ["--pprof-addr", "--perf-mode"],
        ["--perf-mode=1"],
        ["-pprof-addr", "a"],
        ["--listen", ":1"],
        [""],
    ],
)
def test_anything_else_is_wrong_usage(line: list[str]) -> None:
    with pytest.raises(WrongUsage):
        parse_line(line, PROGRAM)


async def test_wrong_usage_help_and_version_start_nothing() -> None:
    wrong = await run_less_sync("--port", "1", command=PROGRAM)
    assert (wrong.status, wrong.out, wrong.err[:26]) == (2, "", "Usage: less-sync-server [-")
    shown = await run_less_sync("--help", command=PROGRAM)
    assert (shown.status, shown.out, shown.err) == (0, wrong.err, "")
    version = await run_less_sync("--version", command=PROGRAM)
    assert (version.status, version.out.split()[0]) == (0, "less-sync")


async def test_it_needs_a_database_and_issuers_and_has_no_dev_mode(tmp_path: Path) -> None:
    done = await run_less_sync(command=PROGRAM, cwd=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert done.err == "Error: DATABASE_URL must be set\nError: TRUSTED_ISSUERS must be set\n"
    assert list(tmp_path.iterdir()) == []


async def test_it_serves_until_a_signal_and_takes_its_options(database_url: str, tmp_path: Path) -> None:
    env = {
        "DATABASE_URL": database_url,
        "TRUSTED_ISSUERS": "https://a=http://127.0.0.1:1/",
        "LISTEN_ADDR": "127.0.0.1:0",
    }
    process = await start_command(PROGRAM, ["-perf-mode"], env=env, cwd=tmp_path)
    lines: list[str] = []
    async with asyncio.timeout(TIMEOUT_S):
        while not any("server listening" in line for line in lines):
            line = await process.stdout.readline()
            assert line, lines
            lines.append(line.decode())
        process.send_signal(signal.SIGTERM)
        await process.stdout.read()
        assert await process.wait() == 0
    assert any("WARN  perf mode enabled: connection and rate limits are off" in line for line in lines)


async def test_it_works_by_any_other_name(tmp_path: Path) -> None:
    link = tmp_path / "betterbase-sync-server"
    link.symlink_to(Path(sysconfig.get_path("scripts")) / PROGRAM)
    process = await asyncio.create_subprocess_exec(
        link, "--help", stdout=asyncio.subprocess.PIPE, env={"PATH": str(Path(sys.executable).parent)}
    )
    out, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert (process.returncode, out.decode().split(" [")[0]) == (0, "Usage: betterbase-sync-server")
