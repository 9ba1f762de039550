"""Federation as a server process has it: own keys at the start and later, and what it says of peers."""

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from less_sync.auth import b64url_encode
from tests.bins.commands import Finished, run_less_sync
from tests.integration.waiting import until
from tests.migrations.support import execute
from tests.sync.raw_http import fetch
from tests.wire.command import ROOT, kept_variables
from tests.wire.process import ServerProcess

BASE = "https://sync.example/.well-known/jwks.json"
ENTRY = f"https://peer.example/x#k={b64url_encode(bytes(SigningKey(b'1' * 32).verify_key))}"
NEVER = {"FEDERATION_KEY_RELOAD_SECONDS": "0"}


def environment(url: str, data_dir: Path, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "DATA_DIR": str(data_dir), **more}


def server(url: str, data_dir: Path, **more: str) -> ServerProcess:
    return ServerProcess(environment(url, data_dir, **more), ["--dev"])


async def keygen(url: str, *arguments: str) -> Finished:
    done = await run_less_sync(*arguments, env={"DATABASE_URL": url}, command="federation-keygen")
    assert done.status == 0, done.err
    return done


async def published(running: ServerProcess) -> list[str]:
    """The names of the keys, oldest first."""
    response = await fetch(running.port, "GET", "/.well-known/jwks.json")
    assert response.status == 200
    return [key["kid"].rpartition("#")[2] for key in json.loads(response.body)["keys"]]


async def health(running: ServerProcess) -> object:
    return json.loads((await fetch(running.port, "GET", "/health")).body)


def is_published(running: ServerProcess, *names: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return await published(running) == list(names)

    return ask


def says(running: ServerProcess, text: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return any(text in line for line in running.output)

    return ask


async def test_a_rollover_needs_no_restart(database_url: str, tmp_path: Path) -> None:
    await keygen(database_url, "--domain", "sync.example", "--kid", "one")
    async with server(database_url, tmp_path, **NEVER) as running:
        assert await published(running) == ["one"]
        await keygen(database_url, "--domain", "sync.example", "--kid", "two", "--no-promote")
        running.signal(signal.SIGHUP)
        await until(is_published(running, "one", "two"))
        await keygen(database_url, "--promote-kid", "two")
        await keygen(database_url, "--deactivate-kid", "one")
        assert await published(running) == ["one", "two"]
        running.signal(signal.SIGHUP)
        await until(is_published(running, "two"))
        await until(says(running, f"federation keys have changed active=1 signs={BASE}#two"))
        running.signal(signal.SIGTERM)
        assert await running.wait(20) == 0


async def test_keys_are_looked_at_again_by_the_clock(database_url: str, tmp_path: Path) -> None:
    async with server(database_url, tmp_path, FEDERATION_KEY_RELOAD_SECONDS="1") as running:
        assert await published(running) == []
        await keygen(database_url, "--domain", "sync.example", "--kid", "one")
        await until(is_published(running, "one"))


async def test_a_key_that_cannot_be_used_does_not_replace_one_that_can(
    database_url: str, tmp_path: Path
) -> None:
    await keygen(database_url, "--domain", "sync.example", "--kid", "one")
    async with server(database_url, tmp_path, **NEVER) as running:
        await execute(database_url, "UPDATE federation_signing_keys SET public_key = 'short'")
        running.signal(signal.SIGHUP)
        await until(says(running, "ERROR federation keys are not taken over"))
        assert await published(running) == ["one"]
        assert await health(running) == {"status": "healthy"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("public_key = 'short'", f'stored federation public key "{BASE}#one" is not 32 bytes'),
        ("private_key = 'short'", f'stored federation private key "{BASE}#one" is not 32 bytes'),
        (
            "private_key = decode(repeat('01', 32), 'hex')",
            f'stored federation key pair mismatch for "{BASE}#one"',
        ),
        ("kid = 'one'", 'stored federation key id "one" is no URL: FEDERATION_DOMAIN must be set'),
    ],
)
async def test_a_stored_key_that_cannot_be_used_ends_the_start(
    database_url: str, tmp_path: Path, change: str, message: str
) -> None:
    await keygen(database_url, "--domain", "sync.example", "--kid", "one")
    await execute(database_url, f"UPDATE federation_signing_keys SET {change}")
    ended = await run_less_sync(
        "serve", "--dev", "--listen", "127.0.0.1:0", env=environment(database_url, tmp_path)
    )
    assert (ended.status, ended.err) == (1, f"Error: {message}\n")
    assert "server listening" not in ended.out


async def test_a_fragment_is_completed_by_the_servers_domain(database_url: str, tmp_path: Path) -> None:
    await keygen(database_url, "--domain", "sync.example", "--kid", "one")
    await execute(database_url, "UPDATE federation_signing_keys SET kid = 'one'")
    async with server(database_url, tmp_path, FEDERATION_DOMAIN="sync.example") as running:
        body = json.loads((await fetch(running.port, "GET", "/.well-known/jwks.json")).body)
        assert [key["kid"] for key in body["keys"]] == ["one"]


async def test_health_tells_of_peers_when_any_is_let_in(database_url: str, tmp_path: Path) -> None:
    trust = {"FEDERATION_TRUSTED_KEYS": ENTRY, "FEDERATION_TRUSTED_DOMAINS": "peer.example,b.example"}
    async with server(database_url, tmp_path, **trust) as running:
        peers = {"enabled": True, "peer_count": 2, "connections": 0}
        assert await health(running) == {"status": "healthy", "federation": peers}


async def test_trusted_domains_with_an_empty_list_of_keys_start_without_federation(
    database_url: str, tmp_path: Path
) -> None:
    trust = {"FEDERATION_TRUSTED_KEYS": "", "FEDERATION_TRUSTED_DOMAINS": "peer.example"}
    async with server(database_url, tmp_path, **trust) as running:
        assert await health(running) == {"status": "healthy"}
        assert await published(running) == []
        assert await says(running, "WARN  federation is off: FEDERATION_TRUSTED_DOMAINS is set")()
        refused = await fetch(running.port, "GET", "/api/v1/federation/ws", UPGRADE)
        assert (refused.status, refused.body) == (404, b"")


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: less-rpc-v1\r\n"
)


async def test_spaces_of_other_servers_without_a_key_are_warned_of(database_url: str, tmp_path: Path) -> None:
    warning = "spaces have their home at other servers, and no key signs requests to them"
    async with server(database_url, tmp_path) as running:
        assert not await says(running, warning)()
    await execute(
        database_url,
        "INSERT INTO spaces (id, client_id, home_server) VALUES (gen_random_uuid(), 'c', 'home.example')",
    )
    async with server(database_url, tmp_path) as running:
        assert await says(running, warning)()
    await keygen(database_url, "--domain", "sync.example")
    async with server(database_url, tmp_path) as running:
        assert not await says(running, warning)()


async def test_a_server_whose_terminal_is_closed_stops(database_url: str, tmp_path: Path) -> None:
    """A hang-up means two things: whoever has no terminal, as a service, is asked to look at its keys."""
    ours, theirs = pty.openpty()
    starter = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        " os.execv(sys.executable, [sys.executable, '-m', 'less_sync.bins.commands.main', *sys.argv[1:]])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", starter, "serve", "--dev", "--listen", "127.0.0.1:0"),
        cwd=ROOT,
        env={**kept_variables(), **environment(database_url, tmp_path)},
        stdin=theirs,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(60):
            while b"listens on" not in await process.stderr.readline():
                assert process.returncode is None
            process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.2)
            assert process.returncode is None
            os.close(ours)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
