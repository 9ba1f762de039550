"""A process that has imported the simulation and forks one child per command: a run costs no imports.

As `tests/wire/fork_server.py` does for the server's commands. Requests come over a socket: the arguments as
JSON, and the open file that takes what the command prints. The answer is its exit status, once it has ended.
The hash seed is fixed, so a history is the same here as in an interpreter of its own.
"""

import atexit
import functools
import gc
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.simulation.runs import HASH_SEED

ROOT: Final = Path(__file__).parents[2]
REQUEST_BYTES_MAX: Final = 4096
RUN_S_MAX: Final = 170.0
"""Of one command: less than a test may take that says nothing."""


def play_prepared(arguments: Sequence[str]) -> tuple[int, str]:
    """Run `python -m tests.simulation` with these arguments; its exit status and what it printed.

    Raises:
        TimeoutError: it did not end within `RUN_S_MAX`.
    """
    request = json.dumps(list(arguments)).encode()
    assert len(request) <= REQUEST_BYTES_MAX
    with tempfile.TemporaryFile() as output:
        requests = _prepared()
        socket.send_fds(requests, [request], [output.fileno()])
        status = int(requests.recv(REQUEST_BYTES_MAX))
        output.seek(0)
        return status, output.read().decode()


@functools.cache
def _prepared() -> socket.socket:
    """Start it, with the first command of this test process; it ends with the socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(RUN_S_MAX)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.prepared", str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": HASH_SEED},
            stdin=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(requests: socket.socket) -> list[str] | None:
    """Run one command after another until the socket is closed: None then, in each child its arguments."""
    while True:
        data, files, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 1)
        if not data:
            return None
        pid = os.fork()
        if not pid:
            requests.close()
            for stream in (1, 2):
                os.dup2(files[0], stream)
            os.close(files[0])
            return list(json.loads(data))
        os.close(files[0])
        _, ended = os.waitpid(pid, 0)
        requests.send(b"%d" % os.waitstatus_to_exitcode(ended))


def main(file: int) -> int:
    """Serve requests on the socket with this descriptor."""
    from tests.simulation.__main__ import main as simulate

    gc.collect()
    gc.freeze()
    arguments = serve(socket.socket(fileno=file))
    if arguments is None:
        return 0
    sys.argv = ["python -m tests.simulation", *arguments]
    return simulate()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
