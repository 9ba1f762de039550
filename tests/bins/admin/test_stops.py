"""The admin listener of a whole process: what it says while the server starts, drains and stops."""

import asyncio
import json
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from tests.bins.test_server import TIMEOUT_S, call, health, said, server, signed_in, until
from tests.wire.client import Closed
from tests.wire.command import kept_variables
from tests.wire.process import ServerProcess

NOTICE = re.compile(r"for operators:\s+http://127\.0\.0\.1:(\d+)/$")
ADMIN_TOKEN = "the-token-of-the-operator"


HANGUP_BIT = 1 << (signal.SIGHUP - 1)


async def admin_port(running: ServerProcess) -> int:
    """Where the banner says that operators may ask."""
    await until(lambda: said(running, "for operators:"))
    (found,) = (match for line in running.output if (match := NOTICE.search(line)))
    return int(found[1])


async def act(port: int, method: str, path: str = "/drain") -> tuple[int, Any]:
    """One request with the token: status and JSON."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nX-Admin-Token: {ADMIN_TOKEN}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), json.loads(answer.partition("\r\n\r\n")[2])


async def readyz(port: int) -> tuple[int, str]:
    status, body = await act(port, "GET", "/readyz")
    return status, body["status"]


async def test_a_signal_during_a_drain_stops_in_the_time_of_a_stop_and_the_listener_tells_until_the_end(
    tmp_path: Path,
) -> None:
    async with server(
        tmp_path, LIMIT_DRAIN_SPREAD_S="600", ADMIN_TOKEN=ADMIN_TOKEN, SHUTDOWN_GRACE_SECONDS="4"
    ) as running:
        port = await admin_port(running)
        assert await readyz(port) == (200, "ready")
        sockets = [await signed_in(running, tmp_path, user) for user in ("alice", "bob", "carol")]
        assert await act(port, "POST") == (202, {"state": "draining", "sessions": 2})
        assert await sockets[0].receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        assert await readyz(port) == (503, "draining")
        assert (await health(running)).status == 503
        running.signal(signal.SIGTERM)
        # The others are closed over the first quarter of the grace, and meanwhile nothing is taken back.
        assert await sockets[1].receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        assert await act(port, "DELETE") == (409, {"state": "stopping", "sessions": 1})
        assert await sockets[2].receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        assert await running.wait(TIMEOUT_S) == 0
        assert not said(running, "Task exception")


async def test_what_is_not_closed_yet_when_a_drain_is_taken_back_goes_on(tmp_path: Path) -> None:
    async with server(tmp_path, LIMIT_DRAIN_SPREAD_S="600", ADMIN_TOKEN=ADMIN_TOKEN) as running:
        port = await admin_port(running)
        sockets = [await signed_in(running, tmp_path, user) for user in ("alice", "bob")]
        assert (await act(port, "POST"))[1] == {"state": "draining", "sessions": 1}
        assert await sockets[0].receive(TIMEOUT_S) == Closed(1001, "server shutting down")
        assert await act(port, "DELETE") == (200, {"state": "serving", "sessions": 1})
        await call(sockets[1], "pull", {"spaces": []})
        await signed_in(running, tmp_path, "alice")
        assert await readyz(port) == (200, "ready")


async def test_a_second_signal_ends_a_drain_that_became_a_stop_at_once(tmp_path: Path) -> None:
    async with server(
        tmp_path,
        LIMIT_DRAIN_SPREAD_S="600",
        LIMIT_CLOSE_TIMEOUT_S="600",
        SHUTDOWN_GRACE_SECONDS="600",
        ADMIN_TOKEN=ADMIN_TOKEN,
    ) as running:
        port = await admin_port(running)
        await signed_in(running, tmp_path)
        await signed_in(running, tmp_path, "bob")
        assert (await act(port, "POST"))[0] == 202
        running.signal(signal.SIGTERM)
        await until(lambda: said(running, "shutting down"))
        running.signal(signal.SIGTERM)
        assert await running.wait(TIMEOUT_S) == 1


async def test_a_listener_that_cannot_listen_ends_the_start_before_the_public_port_is_open(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = ServerProcess({"DATA_DIR": str(tmp_path), "ADMIN_ADDR": f"127.0.0.1:{port}"})
        await running._start()
        output = (await running._stdout.read()).decode()
        assert await running.wait(TIMEOUT_S) == 1
    assert f"Error: Address already in use (os error 98): cannot listen on 127.0.0.1:{port}" in output
    assert "ADMIN_ADDR" in output
    assert "server listening" not in output


def holds_hangups(pid: int) -> bool:
    """Whether SIGHUP waits, as the kernel tells."""
    (mask,) = re.findall(r"SigBlk:\s+([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) & HANGUP_BIT)


async def test_a_sighup_right_behind_the_start_or_behind_the_end_ends_nothing(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "less_sync.bins.commands.main", "serve", "--listen", "127.0.0.1:0"),
        env={**kept_variables(), "DATA_DIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # without a terminal, as services are
    )
    assert process.stdout is not None
    try:
        await until(lambda: holds_hangups(process.pid))
        process.send_signal(signal.SIGHUP)
        output = b""
        async with asyncio.timeout(TIMEOUT_S):
            while b"there is no ENV_FILE" not in output or b"for operators:" not in output:
                line = await process.stdout.readline()
                assert line, output
                output += line
            process.send_signal(signal.SIGTERM)
            while process.returncode is None:
                process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.001)
            output += await process.stdout.read()
        assert process.returncode == 0, output
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
