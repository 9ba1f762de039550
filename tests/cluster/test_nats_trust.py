"""TLS of the bus is never downgraded, and nobody who is not trusted is told a secret."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]  # it has no types
import pytest
from structlog.testing import capture_logs

from less_sync.bins.errors import CommandError
from less_sync.bins.nats.access import nats_access
from less_sync.bins.nats.certificate import loopback_certificate
from less_sync.bins.nats.private import PrivateNats
from less_sync.sync.live.nats_link import NatsAccess
from tests.cluster.buses import operators, port_of, running, two, until
from tests.nats import NatsServer

INFO = {"server_id": "squatter", "version": "2.14.0", "proto": 1, "max_payload": 1 << 20, "nonce": "abc"}


class Squatter:
    """Listens where a NATS should be, says what it likes, and records what it is sent."""

    def __init__(self, greeting: bytes, context: ssl.SSLContext | None = None) -> None:
        self._greeting = greeting
        self._context = context
        self.heard = b""
        self.visits = 0

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._context)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits += 1
        writer.write(self._greeting)
        try:
            while data := await reader.read(65536):
                self.heard += data
                if b"PING" in data:
                    writer.write(b"PONG\r\n")
        except OSError:
            pass
        finally:
            writer.transport.abort()


def greeting(**changes: Any) -> bytes:
    return b"INFO " + json.dumps(INFO | changes).encode() + b"\r\n"


def told_reasons(logged: list[Any]) -> list[str]:
    return [entry["reason"] for entry in logged if entry["event"] == "the bus is away"]


@pytest.fixture
def certified(tmp_path: Path) -> Path:
    """A folder with a certificate of 127.0.0.1 and its key."""
    certificate, key = loopback_certificate()
    (tmp_path / "ca.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(key)
    return tmp_path


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(
    "said",
    [
        greeting(),
        greeting(auth_required=True),
        greeting(tls_required=False, tls_verify=True),
        greeting() + b"PONG\r\n",
        b"+OK\r\n",
        b"INFO {}\r\n",
        b"INFO []\r\n",
        b"INFO " + b"x" * 200_000,
        b"",
    ],
)
async def test_a_squatter_without_tls_is_sent_nothing(said: bytes, certified: Path) -> None:
    squatter = Squatter(said)
    async with squatter.listening() as port:
        access = operators(f"tls://user:hunter2@127.0.0.1:{port}", ca=certified / "ca.pem")
        async with running(access) as (bus, _):
            await until(lambda: squatter.visits >= 2)
            assert not bus.connected
    assert squatter.heard == b""


@pytest.mark.parametrize("offer", ["tls_required", "tls_available"])
async def test_a_squatter_that_offers_tls_has_no_certificate(
    offer: str, certified: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    certificate, key = loopback_certificate()
    (other / "ca.pem").write_bytes(certificate)
    (other / "key.pem").write_bytes(key)
    squatter = Squatter(greeting(**{offer: True}))
    with capture_logs() as logged:
        async with squatter.listening() as port:
            url = f"tls://hunter2@127.0.0.1:{port}"
            async with running(operators(url, ca=certified / "ca.pem")) as (bus, _):
                await until(lambda: squatter.visits >= 2)
                assert not bus.connected
        # All that it may see is the beginning of a handshake.
        assert squatter.heard.startswith(b"\x16\x03")
        assert b"hunter2" not in squatter.heard
        impostor = Squatter(greeting(), server_context(other))
        async with impostor.listening() as port:
            access = NatsAccess(
                operators(f"tls://hunter2@127.0.0.1:{port}", ca=certified / "ca.pem").servers,
                tls=operators(f"tls://127.0.0.1:{port}", ca=certified / "ca.pem").tls,
                handshake_first=True,
            )
            async with running(access) as (bus, _):
                await until(lambda: told_reasons(logged)[-1].startswith("its certificate is not trusted"))
                assert not bus.connected
        assert impostor.heard == b""
    assert "hunter2" not in str(logged)


async def test_the_name_in_a_certificate_counts(certified: Path) -> None:
    squatter = Squatter(greeting(), server_context(certified))
    with capture_logs() as logged:
        async with squatter.listening() as port:
            trusting = operators(f"tls://hunter2@localhost:{port}", ca=certified / "ca.pem")
            access = NatsAccess(trusting.servers, tls=trusting.tls, handshake_first=True)
            async with running(access) as (bus, _):
                await until(lambda: bool(told_reasons(logged)))
                assert not bus.connected
    assert "localhost" in told_reasons(logged)[0]
    assert squatter.heard == b""


async def test_an_operators_nats_with_tls_and_a_password_is_used(
    certified: Path, nats_server: NatsServer
) -> None:
    nats_server.settings = f"""
        tls {{ cert_file: "{certified}/ca.pem", key_file: "{certified}/key.pem" }}
        authorization {{ user: u, password: "hunter,2" }}
    """
    nats_server.restart()
    good = operators(f"tls://u:hunter%2C2@127.0.0.1:{nats_server.port}", ca=certified / "ca.pem")
    async with two(good) as (teller, hearer, ear):
        hearer.listen("s.1")
        assert await hearer.confirmed()
        teller.publish("s.1", b"heard")
        await until(lambda: ear.messages == [b"heard"])
    with capture_logs() as logged:
        for url, ca in (
            (f"tls://u:hunter3@127.0.0.1:{nats_server.port}", certified / "ca.pem"),
            (f"tls://u:hunter%2C2@127.0.0.1:{nats_server.port}", None),
        ):
            async with running(operators(url, ca=ca)) as (bus, _):
                seen = len(told_reasons(logged))
                await until(lambda seen=seen: len(told_reasons(logged)) > seen)  # type: ignore[misc]
                assert not bus.connected
    assert told_reasons(logged)[0] == "Authorization Violation"
    assert told_reasons(logged)[1].startswith("its certificate is not trusted")
    assert "hunter" not in str(logged)


async def test_a_wrong_token_is_refused_until_the_server_takes_it(nats_server: NatsServer) -> None:
    nats_server.settings = 'authorization { token: "right" }'
    nats_server.restart()
    async with running(operators(f"nats://wrong@127.0.0.1:{nats_server.port}")) as (bus, ear):
        await asyncio.sleep(0.5)
        assert ear.connections == 0
        nats_server.settings = 'authorization { token: "wrong" }'
        nats_server.restart()
        await until(lambda: bus.connected)


async def test_who_takes_the_port_of_the_private_nats_learns_nothing() -> None:
    async with PrivateNats() as private:
        access, port = nats_access(private.access), port_of(private.access.urls[0])
        async with running(access) as (bus, _):
            await until(lambda: bus.connected)
            await private._end()
            squatter = Squatter(greeting(tls_required=True, auth_required=True))
            async with squatter.listening(port):
                await until(lambda: squatter.visits >= 2)
                assert not bus.connected
    assert squatter.heard.startswith(b"\x16\x03")
    assert private._token.encode() not in squatter.heard


class Operator:
    """A NATS of accounts with JWTs, as `nsc` makes them: one operator, one account, one user."""

    def __init__(self) -> None:
        self.keys = {
            kind: nkeys.from_seed(bytearray(_seed(kind))) for kind in ("operator", "account", "user")
        }

    def jwt(self, issuer: str, subject: str, **nats: Any) -> str:
        public = self.keys[subject].public_key.decode()
        payload = {
            "jti": subject,
            "iat": 1_700_000_000,
            "iss": self.keys[issuer].public_key.decode(),
            "name": subject,
            "sub": public,
            "nats": {"type": subject, "version": 2, **nats},
        }
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        text = ".".join(_b64(json.dumps(part).encode()) for part in (head, payload))
        return f"{text}.{_b64(self.keys[issuer].sign(text.encode()))}"

    def settings(self) -> str:
        limits = dict.fromkeys(("subs", "conn", "leaf", "imports", "exports", "data", "payload"), -1)
        account = self.jwt("operator", "account", limits=limits | {"wildcards": True})
        public = self.keys["account"].public_key.decode()
        operator = self.jwt("operator", "operator")
        return f"operator: {operator}\nresolver: MEMORY\nresolver_preload: {{ {public}: {account} }}\n"

    def credentials(self) -> str:
        user = self.jwt("account", "user", subs=-1, data=-1, payload=-1)
        return (
            f"-----BEGIN NATS USER JWT-----\n{user}\n------END NATS USER JWT------\n\n"
            "*************************** IMPORTANT ***************************\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{self.keys['user'].seed.decode()}\n"
            "------END USER NKEY SEED------\n"
        )


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _seed(kind: str) -> bytes:
    prefix = {
        "operator": nkeys.PREFIX_BYTE_OPERATOR,
        "account": nkeys.PREFIX_BYTE_ACCOUNT,
        "user": nkeys.PREFIX_BYTE_USER,
    }
    return bytes(nkeys.encode_seed(kind.encode().ljust(32, b"."), prefix[kind]))


async def test_a_credentials_file_lets_in_and_is_read_again(tmp_path: Path, nats_server: NatsServer) -> None:
    operator, path = Operator(), tmp_path / "bus.creds"
    path.write_text(operator.credentials())
    nats_server.settings = operator.settings()
    nats_server.restart()
    access = operators(nats_server.url, credentials=path)
    async with two(access) as (teller, hearer, ear):
        hearer.listen("s.1")
        assert await hearer.confirmed()
        teller.publish("s.1", b"heard")
        await until(lambda: ear.messages == [b"heard"])
        path.write_text("gone")
        nats_server.restart()
        await until(lambda: not hearer.connected)
        await asyncio.sleep(0.5)
        assert ear.connections == 1
        path.write_text(operator.credentials())
        await until(lambda: ear.connections == 2)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot read NATS_CREDENTIALS_FILE {path}: No such file or directory (os error 2)"),
        ("", "is not a credentials file of NATS: it has no user JWT between BEGIN and END lines"),
        ("x" * 70_000, "cannot read NATS_CREDENTIALS_FILE {path}: it is longer than 65536 bytes"),
        ("-----BEGIN NATS USER JWT-----\n", "it has no user JWT between BEGIN and END lines"),
        ("SEED", "it has no user NKEY seed between BEGIN and END lines"),
        ("BAD", "holds a seed that is none"),
        ("WORDS", "holds a user JWT that is none"),
    ],
)
def test_a_credentials_file_that_is_none_is_told_at_once(
    content: str | None, text: str, tmp_path: Path
) -> None:
    path, good = tmp_path / "bus.creds", Operator().credentials()
    made = {
        "SEED": good.replace("USER NKEY SEED", "USER NKEY"),
        "BAD": good.replace("\nSU", "\nSX"),
        "WORDS": good.replace("\neyJ", "\n!!!"),
    }
    if content is not None:
        path.write_text(made.get(content, content))
    with pytest.raises(CommandError) as caught:
        operators("nats://127.0.0.1:1", credentials=path)
    assert text.format(path=path) in str(caught.value)
    assert Operator().keys["user"].seed.decode() not in str(caught.value)


def test_a_file_of_certificates_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    with pytest.raises(CommandError, match=r"cannot use NATS_CA_FILE .*: No such file or directory"):
        operators("tls://127.0.0.1:1", ca=path)
    path.write_text("no certificate")
    with pytest.raises(CommandError, match=r"cannot use NATS_CA_FILE .*: it holds no certificate"):
        operators("tls://127.0.0.1:1", ca=path)
