"""A real nginx or Caddy before a server, with the examples of `deploy/`.

Only addresses and certificates are changed in them.
"""

import asyncio
import os
import signal
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.deploy.debian import Program, program
from tests.federation.certificates import private_authority_files
from tests.ports import ADDRESS, free_ports
from tests.sync.raw_http import fetch

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
START_S: Final = 20.0
STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the proxy listens, and the server behind it."""

    tls: int
    plain: int
    server: int


def changed(text: str, changes: Mapping[str, str]) -> str:
    """The example with these words in place of others, each of which must be there."""
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class Proxy:
    """A proxy as a process in the foreground. `restart` and `reload` keep its ports."""

    def __init__(self, ports: Ports, folder: Path, tls: ssl.SSLContext) -> None:
        self.ports = ports
        self.tls = tls
        """For a client that trusts the proxy's certificate."""
        self.folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._log = folder / "proxy.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def command(self) -> tuple[Program, list[str]]:
        """The program and its arguments."""
        raise AssertionError("a kind of proxy says this")

    @property
    def log(self) -> str:
        """What it has said."""
        return self._log.read_text(errors="replace")

    async def start(self) -> None:
        """Start it and wait until it hands a request on, or answers for a server that is away."""
        used, arguments = await asyncio.to_thread(self.command)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                used.path,
                *arguments,
                env={**os.environ, "HOME": str(self.folder), **used.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(START_S):
                while not await self._answers():
                    assert self._process.returncode is None, self.log
                    await asyncio.sleep(0.05)
        except TimeoutError:
            await self.stop()
            raise AssertionError(f"the proxy does not answer:\n{self.log}") from None

    async def _answers(self) -> bool:
        try:
            return (await fetch(self.ports.plain, "GET", "/health")).status > 0
        except OSError:
            return False

    async def stop(self) -> None:
        """End it at once, as a restart does: what it carries is cut."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def reload(self) -> None:
        """Have it read its configuration again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


class Nginx(Proxy):
    """nginx of Debian with `deploy/nginx.conf`."""

    def command(self) -> tuple[Program, list[str]]:
        """Write the configuration around the example, and run it in the foreground."""
        site = changed(
            (DEPLOY / "nginx.conf").read_text(),
            {
                "listen 443 ssl;": f"listen {ADDRESS}:{self.ports.tls} ssl;",
                "listen [::]:443 ssl;": f"listen {ADDRESS}:{self.ports.plain};",
                "/etc/ssl/sync.example.pem": str(self.folder / "chain.pem"),
                "/etc/ssl/sync.example.key": str(self.folder / "key.pem"),
                "127.0.0.1:5379": f"{ADDRESS}:{self.ports.server}",
            },
        )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "\n".join(f"{kind}_temp_path {self.folder / kind};" for kind in kinds)
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; pid {self.folder / 'nginx.pid'}; error_log stderr warn; worker_processes 1;\n"
            f"events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n{places}\n{site}\n}}\n"
        )
        return program("nginx", "nginx"), ["-e", "stderr", "-p", str(self.folder), "-c", str(config)]


class Caddy(Proxy):
    """Caddy of Debian with `deploy/Caddyfile`, and a certificate of ours: it would fetch one."""

    def command(self) -> tuple[Program, list[str]]:
        """Write the example with other addresses, and run it."""
        certificate = f"tls {self.folder / 'chain.pem'} {self.folder / 'key.pem'}"
        site = f"https://:{self.ports.tls} {{\n\tbind {ADDRESS}\n\t{certificate}\n\timport server\n}}\n"
        plain = f"http://:{self.ports.plain} {{\n\tbind {ADDRESS}\n\timport server\n}}\n"
        text = changed(
            (DEPLOY / "Caddyfile").read_text(),
            {
                "{\n\tservers {": "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {",
                "sync.example {": "(server) {",
                "127.0.0.1:5379": f"{ADDRESS}:{self.ports.server}",
            },
        )
        config = self.folder / "Caddyfile"
        config.write_text(f"{text}\n{site}{plain}")
        return program("caddy", "caddy"), ["run", "--adapter", "caddyfile", "--config", str(config)]


def proxy_before(kind: type[Proxy], server_port: int, folder: Path) -> Proxy:
    """A proxy of this kind, not started yet, with a certificate of a private authority for its address."""
    folder.mkdir(exist_ok=True)
    chain, key, authority = private_authority_files(ADDRESS)
    (folder / "chain.pem").write_bytes(chain)
    (folder / "key.pem").write_bytes(key)
    tls, plain = free_ports(2)
    return kind(Ports(tls, plain, server_port), folder, ssl.create_default_context(cadata=authority))
