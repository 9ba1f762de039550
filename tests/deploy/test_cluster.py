"""The files of `deploy/cluster`: two nodes, Postgres, NATS and nginx, as an operator would start them."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]  # ships no types

from less_sync.bins.nats.binary import nats_server_program
from less_sync.bins.settings.config import Settings
from tests.deploy.debian import Program, program
from tests.deploy.proxies import Proxy, changed, proxy_before
from tests.deploy.test_compose import VARIABLE, filled
from tests.ports import ADDRESS, free_ports
from tests.sync.raw_http import fetch

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "cluster"
FILE: Final = FOLDER / "compose.yaml"
GIVEN: Final = {
    "POSTGRES_PASSWORD": "0123abcd",
    "NATS_TOKEN": "n0123abcd",
    "TRUSTED_ISSUERS": "https://accounts.example",
    "IDENTITY_HASH_KEY": "ab" * 32,
}
NODES: Final = ("node-1", "node-2")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_the_file_fits_the_schema_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(FILE)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_only_nginx_is_published_and_only_to_this_host() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"nginx": ["127.0.0.1:${SYNC_PORT:-5379}:80"]}


def test_the_example_holds_no_secret_and_names_all_that_is_asked_for() -> None:
    lines = [line for line in (FOLDER / ".env.example").read_text().splitlines() if line and line[0] != "#"]
    given = dict(line.split("=", 1) for line in lines)
    assert {name for name, value in given.items() if value} == {"AUDIENCES"}
    asked = {found[1] for found in VARIABLE.finditer(FILE.read_text()) if found[2] == "?"}
    assert asked == GIVEN.keys()
    assert asked <= given.keys()


def test_the_nodes_take_their_settings_and_differ_in_their_name_and_their_own_volume_alone() -> None:
    nodes = [services()[name] for name in NODES]
    read = [
        Settings.from_env(
            {name: filled(value, GIVEN) for name, value in node["environment"].items()}
            | {"DATA_DIR": "/var/lib/less-sync"}  # the image's
        )
        for node in nodes
    ]
    assert [settings.cluster.node_name for settings in read] == list(NODES)
    assert [settings.cluster.bus.urls for settings in read if settings.cluster.bus is not None] == [
        ("nats://n0123abcd@nats:4222",)
    ] * 2
    assert {settings.database.url for settings in read} == {
        "postgres://less_sync:0123abcd@postgres:5432/less_sync?sslmode=disable"
    }
    shared = "files:/var/lib/less-sync-files"
    assert [node.pop("volumes") for node in nodes] == [
        [f"{name}:/var/lib/less-sync", shared] for name in NODES
    ]
    for node in nodes:
        node["environment"].pop("NODE_NAME")
    assert nodes[0] == nodes[1]


def test_nats_takes_its_file_and_no_argument_holds_the_token() -> None:
    nats = services()["nats"]
    assert "NATS_TOKEN" not in str(nats["command"])
    assert nats["volumes"] == ["./nats.conf:/etc/nats/less-sync.conf:ro"]
    done = subprocess.run(
        [str(nats_server_program()), "-t", "-c", str(FOLDER / "nats.conf")],
        env={"NATS_TOKEN": GIVEN["NATS_TOKEN"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    without = subprocess.run(
        [str(nats_server_program()), "-t", "-c", str(FOLDER / "nats.conf")],
        env={},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert without.returncode != 0, "a NATS without a token lets everybody in"


class ClusterNginx(Proxy):
    """nginx of Debian with `deploy/cluster/nginx.conf`; `nodes` are the ports of the two."""

    nodes: tuple[int, int] = (0, 0)

    def command(self) -> tuple[Program, list[str]]:
        """Write the configuration around the example, have it examined, and run it in the foreground."""
        changes = {"listen 80;": f"listen {ADDRESS}:{self.ports.plain};"}
        changes |= {f"{name}:5379": f"{ADDRESS}:{port}" for name, port in zip(NODES, self.nodes, strict=True)}
        site = changed((FOLDER / "nginx.conf").read_text(), changes)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        places = "\n".join(f"{kind}_temp_path {self.folder / kind};" for kind in kinds)
        config = self.folder / "nginx.conf"
        config.write_text(
            f"daemon off; pid {self.folder / 'nginx.pid'}; error_log stderr warn; worker_processes 1;\n"
            f"events {{ worker_connections 1024; }}\nhttp {{ access_log off;\n{places}\n{site}\n}}\n"
        )
        used = program("nginx", "nginx")
        arguments = ["-e", "stderr", "-p", str(self.folder), "-c", str(config)]
        done = subprocess.run(
            [used.path, "-t", *arguments],
            env=dict(used.environment),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return used, arguments


@asynccontextmanager
async def node(name: str, port: int, heads: list[bytes]) -> AsyncIterator[None]:
    """Answers as a node would, with its name, and keeps the heads that it is sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            body = name.encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
            )
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, ADDRESS, port):
        yield


@pytest.fixture
def ports() -> tuple[int, int]:
    first, second = free_ports(2)
    return first, second


async def test_nginx_hands_on_to_both_nodes_and_to_one_when_the_other_is_away(
    ports: tuple[int, int], tmp_path: Path
) -> None:
    proxy = proxy_before(ClusterNginx, ports[0], tmp_path / "nginx")
    assert isinstance(proxy, ClusterNginx)
    proxy.nodes = ports
    heads: list[bytes] = []

    async def names(count: int) -> list[bytes]:
        answers = [await fetch(proxy.ports.plain, "GET", "/health") for _ in range(count)]
        assert {answer.status for answer in answers} == {200}
        return [answer.body for answer in answers]

    async with node("node-2", ports[1], heads):
        async with node("node-1", ports[0], heads), proxy:
            assert set(await names(20)) == {b"node-1", b"node-2"}
        async with proxy:
            assert set(await names(20)) == {b"node-2"}
            upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nX-Forwarded-Proto: https\r\n"
            await fetch(proxy.ports.plain, "GET", "/api/v1/ws", upgrade)
            assert re.search(rb"(?i)\r\nupgrade: websocket\r\n", heads[-1])
            assert re.search(rb"(?i)\r\nx-forwarded-proto: https\r\n", heads[-1])
