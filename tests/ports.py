"""Ports for programs that cannot choose one themselves and tell."""

import os
import random
import socket
from pathlib import Path
from typing import Final

ADDRESS: Final = "127.0.0.1"
RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
EACH: Final = 250
"""Ports that one process of a test run chooses from. Those of three lie above what volume servers take."""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens at, below those that the system gives out.

    From those another test's listener may get the very port before the program listens there, and answer in
    its place. The processes of one test run choose from ports of their own.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    end = int(RANGE.read_text().split()[0]) - EACH * process
    held: list[socket.socket] = []
    try:
        for port in random.sample(range(end - EACH, end), EACH):
            one = socket.socket()
            try:
                one.bind((ADDRESS, port))
            except OSError:
                one.close()
            else:
                held.append(one)
                if len(held) == count:
                    return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
    raise LookupError(f"fewer than {count} free ports")
