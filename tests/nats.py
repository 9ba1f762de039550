"""A real `nats-server` as a process of its own, on loopback, which a test kills, stops and starts again."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from less_sync.bins.nats.binary import nats_server_program

START_S_MAX: Final = 30.0
LOOK_EVERY_S: Final = 0.01


class NatsServer:
    """Runs from `start` to `kill`; `start` again takes the same port. All calls block, for 0.1 s or so.

    Args:
        directory: an empty one, for its settings and its log.
        settings: more lines of its configuration: `authorization { token: "x" }`.
        scheme: of `url`.
    """

    def __init__(self, directory: Path, settings: str = "", *, scheme: str = "nats") -> None:
        self.directory: Final = directory
        self.settings = settings
        self._scheme: Final = scheme
        self._port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "NatsServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def port(self) -> int:
        """The same for its whole life."""
        assert self._port is not None, "it was never started"
        return self._port

    @property
    def url(self) -> str:
        """For NATS_URL."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def environment(self) -> Mapping[str, str]:
        """What a server is told to use this one."""
        return {"NATS_URL": self.url}

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert self._process is None, "it runs already"
        config, log = self.directory / "nats.conf", self.directory / "log"
        port = -1 if self._port is None else self._port
        lines = f'listen: "127.0.0.1:{port}"', f'ports_file_dir: "{self.directory}"', "max_payload: 1MB"
        config.write_text("\n".join((*lines, self.settings, "")))
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(nats_server_program()), "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        told = self.directory / f"nats-server_{self._process.pid}.ports"
        deadline = time.monotonic() + START_S_MAX
        while not told.exists() or not told.read_text().endswith("}"):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"nats-server did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(LOOK_EVERY_S)
        self._port = _port(told)
        told.unlink()

    def kill(self) -> None:
        """End it at once, running or stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Let it neither read nor write any more, with its connections open (SIGSTOP)."""
        os.kill(self.pid, signal.SIGSTOP)
        # Its threads go on for a moment after the signal was sent.
        deadline = time.monotonic() + START_S_MAX
        while any(_state(thread) != "T" for thread in Path(f"/proc/{self.pid}/task").iterdir()):
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(LOOK_EVERY_S)

    def cont(self) -> None:
        """Let it go on after `stop`."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Kill it and start it on the same port."""
        self.kill()
        self.start()


def _state(thread: Path) -> str:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


def _port(told: Path) -> int:
    ports: dict[str, Any] = json.loads(told.read_text())
    url: str = (ports.get("nats") or ports["tls"])[0]
    return int(url.rpartition(":")[2])
