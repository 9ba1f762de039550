"""The server as a process: an orderly stop, and what it never writes to its log."""

import re
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import cbor2

from tests.integration.waiting import until
from tests.live import Client
from tests.sync.raw_http import Response, connected
from tests.wire.client import Closed, Message, Socket, open_socket
from tests.wire.issuer import AUDIENCE, Issuer, new_issuer, served_key_set
from tests.wire.process import ServerProcess

ISSUER = "https://process.example"
TIMEOUT_S = 30.0
PUSHES = 200


@asynccontextmanager
async def server_of(database_url: str, **settings: str) -> AsyncIterator[tuple[ServerProcess, Issuer]]:
    issuer = new_issuer()
    async with served_key_set(issuer) as key_set_url:
        environment = {
            "DATABASE_URL": database_url,
            "TRUSTED_ISSUERS": f"{ISSUER}={key_set_url}",
            "AUDIENCES": AUDIENCE,
            **settings,
        }
        async with ServerProcess(environment) as server:
            yield server, issuer


def claims(user: str, space: str, **more: str) -> Mapping[str, Any]:
    base = {"iss": ISSUER, "sub": user, "client_id": "c", "scope": "sync", "personal_space_id": space}
    return {**base, "mailbox_id": "ab" * 32, **more}


async def log_in(port: int, token: str) -> Socket:
    socket = await open_socket("127.0.0.1", port)
    socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
    return socket


async def test_a_stop_answers_what_runs_then_closes_with_1001_and_exits_with_0(database_url: str) -> None:
    space = str(uuid4())
    async with server_of(database_url) as (server, issuer):
        clients = [
            Client(await log_in(server.port, issuer.token(claims("u", space, mailbox_id=f"{n:064x}"))), space)
            for n in range(3)
        ]
        for client in clients:
            await client.subscribe()
        for _ in range(PUSHES):
            change = {"id": str(uuid4()), "blob": b"x" * 500, "expected_cursor": 0}
            clients[0].send("push", {"space": space, "changes": [change]})
        first = await clients[0].socket.receive(TIMEOUT_S)
        assert isinstance(first, Message)
        server.signal(signal.SIGTERM)
        answers = [first.data]
        while isinstance(event := await clients[0].socket.receive(TIMEOUT_S), Message):
            answers.append(event.data)
        assert event == Closed(1001, "server shutting down")
        for client in clients[1:]:
            assert await client.closed() == Closed(1001, "server shutting down")
        assert await server.wait(TIMEOUT_S) == 0

    results = [cbor2.loads(answer)["result"] for answer in answers]
    assert [result["cursor"] for result in results] == list(range(1, len(results) + 1))
    async with server_of(database_url) as (server, issuer):
        client = Client(await log_in(server.port, issuer.token(claims("u", space))), space)
        (_, begin), *entries, _ = await client.pull()
        assert len(entries) == begin["cursor"] >= len(results)


async def test_a_second_signal_ends_the_process_at_once_with_status_1(database_url: str) -> None:
    async with server_of(database_url, SHUTDOWN_GRACE_SECONDS="60") as (server, issuer):
        socket = await log_in(server.port, issuer.token(claims("u", str(uuid4()))))
        socket.stop_reading()  # never answers the close frame, so the first signal alone would wait
        socket.send(cbor2.dumps({"type": 0, "id": "1", "method": "?", "params": {}}))
        server.signal(signal.SIGTERM)

        async def stopping() -> bool:
            return any("shutting down" in line for line in server.output)

        await until(stopping)
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 1
        socket.abort()


async def test_a_server_without_workers_ignores_the_signal_that_replaces_them(database_url: str) -> None:
    async with server_of(database_url) as (server, _):
        server.signal(signal.SIGUSR2)
        assert (await ask(server.port, "GET /health HTTP/1.1")).status == 200
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 0


async def test_the_log_holds_no_token_no_payload_and_nobodys_name_at_any_level(database_url: str) -> None:
    space, user, did, mailbox = str(uuid4()), "user-confidential", "did:key:zConfidential", "cd" * 32
    secret = b"payload-confidential"
    async with server_of(database_url, LOG_LEVEL="trace") as (server, issuer):
        token = issuer.token(claims(user, space, did=did, mailbox_id=mailbox))
        client = Client(await log_in(server.port, token), space)
        await client.subscribe()
        change = {"id": str(uuid4()), "blob": secret, "expected_cursor": 0, "dek": secret}
        assert (await client.push(change))["ok"] is True
        assert (await client.push(change))["error"] == "conflict"
        assert len(await client.pull()) == 3
        push = {"space": space, "ucan": "ucan-confidential", "changes": [{"id": secret, "blob": secret}]}
        assert (await client.error("push", push))[0] == "invalid_params"
        shared = {"spaces": [{"id": str(uuid4()), "since": 0, "ucan": "ucan-confidential"}]}
        assert (await client.call("subscribe", shared))["errors"]
        assert (await client.call("token.refresh", {"token": token[:-8] + "AAAAAAAA"}))["ok"] is False
        client.socket.send(b"\xa1\x64type" + secret)
        assert (await client.closed()).code == 4005
        forged = await log_in(server.port, issuer.forged(claims(user, space)))
        assert isinstance(await forged.receive(TIMEOUT_S), Closed)
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 0
    said = "\n".join(server.output)
    assert "server listening" in said
    for confidential in (token, token[:40], user, did, mailbox, "confidential", secret.hex()):
        assert confidential not in said


async def ask(port: int, line: str, *fields: str, body: bytes = b"") -> Response:
    """One request by its own `Host`."""
    async with connected(port) as connection:
        head = "\r\n".join((line, f"Host: 127.0.0.1:{port}", *fields, f"Content-Length: {len(body)}", "", ""))
        connection.send(head.encode() + body)
        return await connection.receive()


async def test_neither_log_nor_metrics_hold_what_operators_and_uploads_bring(
    database_url: str, tmp_path: Path
) -> None:
    space, token = str(uuid4()), "operator-confidential"
    settings = {
        "LOG_LEVEL": "trace",
        "ADMIN_ADDR": "127.0.0.1:0",
        "ADMIN_TOKEN": token,
        "PPROF_ADDR": "127.0.0.1:0",
        "DATA_DIR": str(tmp_path),
        "FILE_STORAGE_BACKEND": "local",
        "FILE_STORAGE_PATH": str(tmp_path / "files"),
    }
    async with server_of(database_url, **settings) as (server, issuer):
        found = re.findall(r"(admin|profiler) .* address=127\.0\.0\.1:(\d+)", "\n".join(server.output))
        admin, profiler = (int(port) for _, port in sorted(found))
        user = issuer.token(claims("user-confidential", space, scope="sync files"))
        client = Client(await log_in(server.port, user), space)
        await client.error("method-confidential", {})
        file, secret = f"/api/v1/spaces/{space}/files", b"content-confidential"
        fields = (f"Authorization: Bearer {user}", "X-UCAN: ucan-confidential", "X-Record-ID: confidential")
        assert (await ask(server.port, f"PUT {file}/{uuid4()} HTTP/1.1", *fields, body=secret)).status >= 400
        assert (await ask(server.port, f"GET {file}/confidential?confidential HTTP/1.1")).status == 401
        metrics = await ask(admin, "GET /metrics?confidential HTTP/1.1", "User-Agent: confidential")
        assert (await ask(admin, "POST /drain HTTP/1.1", "X-Admin-Token: guess-confidential")).status == 401
        for method in ("POST", "DELETE"):
            assert (await ask(admin, f"{method} /drain HTTP/1.1", f"X-Admin-Token: {token}")).status == 200
        assert (await ask(profiler, "GET /debug/pprof/tasks?confidential HTTP/1.1")).status == 200
        server.signal(signal.SIGTERM)
        assert await server.wait(TIMEOUT_S) == 0
    told = "\n".join((*server.output, metrics.body.decode()))
    assert "draining was taken back" in told
    assert 'method="other"' in told
    for confidential in ("confidential", user, user[:40], space):
        assert confidential not in told
