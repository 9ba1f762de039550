"""A typed command that was forked is one like any other, for whoever typed it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from tests import typed

ENDED_S_MAX: Final = 20.0
SERVE: Final = "serve --dev --listen 127.0.0.1:0"
FRESH: Final = Path(sys.prefix, "bin")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Where the commands are."""
    path = tmp_path / "bin"
    path.mkdir()
    typed.install(path)
    return path


@pytest.mark.parametrize("line", ["less-sync --version", "less-sync push --no-such", "migrate --help"])
def test_it_prints_and_ends_as_one_of_a_new_interpreter(programs: Path, line: str) -> None:
    name, *arguments = line.split()
    ended = [
        subprocess.run([path / name, *arguments], capture_output=True, check=False)
        for path in (FRESH, programs)
    ]
    assert len({(one.returncode, one.stdout, one.stderr) for one in ended}) == 1


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_server_has_what_its_shell_gave_it_and_every_signal_reaches_it(
    programs: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    variables = {"DATA_DIR": "data", "PATH": os.environ["PATH"], "ADMIN_ADDR": "", "LOG_LEVEL": "off"}
    with subprocess.Popen(
        ["/bin/sh", "-c", f"umask 027; ulimit -n 4000; exec {programs}/less-sync {SERVE}"],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().split("127.0.0.1:")[1].split()[0])
        pid = int((tmp_path / "data" / "lock").read_text())
        assert pid != server.pid
        assert Path(f"/proc/{pid}/cwd").readlink() == tmp_path
        assert re.search(r"^Umask:\s+0027$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        assert re.search(
            r"^Max open files +4000 +4000 ", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE
        )
        with socket.create_connection(("127.0.0.1", port), timeout=ENDED_S_MAX):
            pass
        server.send_signal(number)
        server.stdout.read()
        assert server.wait(ENDED_S_MAX) == status
    deadline = time.monotonic() + ENDED_S_MAX
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}/exe").exists()
