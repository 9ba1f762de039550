"""Connections to a running server that cannot do more than its row allows (docs/validation.md 3.2).

Where nothing may be written an allow-list stands before the first byte. Redirects are never followed, proxies
of the environment never used, and a token goes to the address the operator gave and nowhere else.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import asyncpg
import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from less_sync.sync.protocol.frames import FRAME_BYTES_MAX
from less_sync.validation.canonical import parsed
from less_sync.validation.conversation import Closed, Conversation, Ended
from less_sync.validation.matrix import TargetSpec
from less_sync.validation.outcome import Blocked, Broken, Faulty, NotReached
from less_sync.validation.scratch_databases import closed

if TYPE_CHECKING:
    from less_sync.validation.context import Context
    from less_sync.validation.people import Person

SOCKET_PATH: Final = "/api/v1/ws"
READ_HTTP: Final = frozenset({"GET", "HEAD", "OPTIONS"})
CONNECT_S: Final = 10.0
TURNED_AWAY: Final = frozenset({1002, 1009, 1013, 4000, 4003})
"""Close codes with which a connection ends before it is a session (docs/protocol.md 11)."""
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
"""Of one answer's body; a file of a check has 3 MiB."""
DATABASE_SETTINGS: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",
    "lock_timeout": "1s",
    "idle_in_transaction_session_timeout": "60s",
    "application_name": "less-sync-validate",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order in which they came."""
    body: bytes
    elapsed_ms: int
    """From the request to the answer's last byte."""

    def header(self, name: str) -> str | None:
        """The values of a header, joined by `, `; None when it did not come."""
        values = [value for one, value in self.headers if one == name]
        return ", ".join(values) if values else None

    def json(self) -> Any:
        """The body as JSON. Raises Faulty `body`."""
        try:
            return parsed(self.body)
        except ValueError:
            raise Faulty("body") from None


@dataclass(slots=True)
class Target:
    """One server, at one address. Made for a run, closed with it."""

    spec: TargetSpec
    base_url: str
    database_url: str | None = field(default=None, repr=False)
    metrics_url: str | None = None
    log_path: Path | None = None
    """Where a server that the run itself started writes its log."""
    upgrades: int = 0
    """Handshakes of this run that the server answered."""
    refused: int = 0
    """Those of them that it did not let in: by the status, or by closing before it said anything."""
    rate_limited: bool = False
    """Whether any check of this run was refused something for an hourly limit."""
    http: httpx.AsyncClient = field(init=False, repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """Another trust store than the system's, for tests."""
    database_lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    """One connection at a time."""

    def __post_init__(self) -> None:
        self.http = httpx.AsyncClient(
            base_url=self.base_url,
            verify=self.tls or system_trust(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(30.0, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=2),
        )

    @property
    def name(self) -> str:
        """As the manifest has it."""
        return self.spec.name

    async def close(self) -> None:
        """Let its connections go."""
        await self.http.aclose()

    async def request(
        self,
        context: "Context",
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        person: "Person | None",
    ) -> Answer:
        """See `Context.request`."""
        if self.spec.writes == "none" and method not in READ_HTTP:
            raise Broken("write-refused")
        sent = {"User-Agent": user_agent(context), "Accept-Encoding": "identity"} | dict(headers)
        if person is not None:
            sent["Authorization"] = f"Bearer {await person.token()}"
        context.evidence.request(method, path, sent.items(), body)
        began_s = time.monotonic()
        try:
            async with self.http.stream(method, path, headers=sent, content=body) as response:
                content = await bounded(response, ANSWER_BYTES_MAX)
        except httpx.ConnectError as error:
            context.evidence.note(f"no answer: {error}")
            raise NotReached(_step(error)) from None
        except httpx.ConnectTimeout:
            raise NotReached("connect") from None
        except httpx.TimeoutException:
            raise Faulty("deadline") from None
        except httpx.HTTPError as error:
            context.evidence.note(f"cut: {error!r}")
            raise Faulty("cut") from None
        # The server counts whatever is asked for there as a handshake that it turned away.
        if path.partition("?")[0] == SOCKET_PATH:
            self.upgrades, self.refused = self.upgrades + 1, self.refused + 1
        pairs = tuple((name.lower(), value) for name, value in response.headers.multi_items())
        context.evidence.answer(response.status_code, pairs, content)
        return Answer(response.status_code, pairs, content, int((time.monotonic() - began_s) * 1000))

    @asynccontextmanager
    async def converse(
        self,
        context: "Context",
        person: "Person | None",
        *,
        token: str | None,
        subprotocols: tuple[str, ...],
    ) -> AsyncIterator[Conversation]:
        """See `Context.converse`."""
        socket = await self._open(context, subprotocols)
        conversation = Conversation(socket, context.evidence, self.spec.writes == "none")
        try:
            if token is None and person is not None:
                token = await person.token()
            if token is not None:
                await conversation.authenticate(token)
            yield conversation
        finally:
            self.rate_limited = self.rate_limited or conversation.rate_limited
            if not conversation.heard and _turned_away(socket):
                self.refused += 1
            await asyncio.shield(socket.close())

    async def _open(self, context: "Context", subprotocols: tuple[str, ...]) -> ClientConnection:
        where = urlsplit(self.base_url)
        scheme = "wss" if where.scheme == "https" else "ws"
        context.evidence.note(f"> GET {SOCKET_PATH} upgrade, {', '.join(subprotocols) or 'no subprotocol'}")
        try:
            opened = await connect(
                f"{scheme}://{where.netloc}{SOCKET_PATH}",
                subprotocols=[Subprotocol(one) for one in subprotocols] or None,
                user_agent_header=user_agent(context),
                compression=None,
                max_size=FRAME_BYTES_MAX,
                open_timeout=CONNECT_S,
                close_timeout=2.0,
                ping_interval=None,
                proxy=None,
                ssl=(self.tls or system_trust()) if scheme == "wss" else None,
            )
        except InvalidStatus as error:
            self.upgrades, self.refused = self.upgrades + 1, self.refused + 1
            status = error.response.status_code
            context.evidence.answer(
                status, error.response.headers.raw_items(), bytes(error.response.body or b"")
            )
            raise Faulty("upgrade", status) from None
        except InvalidHandshake as error:
            context.evidence.note(f"no upgrade: {error}")
            raise Faulty("upgrade") from None
        except OSError as error:  # TimeoutError too: until the upgrade is answered nothing was said
            context.evidence.note(f"no answer: {error}")
            raise NotReached(_step(error)) from None
        self.upgrades += 1
        return opened

    @asynccontextmanager
    async def database(self, context: "Context") -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """See `Context.database`. The transaction is rolled back, and could not have written anything."""
        if self.database_url is None:
            raise Blocked("input", f"{self.name.upper().replace('PRODUCTION', 'PROD')}_DATABASE_URL")
        async with self.database_lock:
            try:
                connection = await asyncpg.connect(
                    self.database_url, timeout=CONNECT_S, server_settings=DATABASE_SETTINGS
                )
            except Exception as error:  # whatever the driver stumbles over, of something that is no Postgres
                context.evidence.note(f"no database: {type(error).__name__}")
                raise NotReached("connect") from None
            try:
                transaction = connection.transaction(readonly=True)
                await transaction.start()
                # Until its first query a transaction could still be made one that writes.
                await connection.execute("SELECT 1")
                yield connection
                await transaction.rollback()
            finally:
                await asyncio.shield(closed(connection))


@cache
def system_trust() -> ssl.SSLContext:
    """The roots that this machine trusts. Read once: that takes longer than many a check."""
    return ssl.create_default_context()


def _turned_away(socket: ClientConnection) -> bool:
    """Whether the server closed first, and with a code for those who are not let in."""
    return bool(socket.protocol.close_rcvd_then_sent) and socket.close_code in TURNED_AWAY


def user_agent(context: "Context") -> str:
    """By which an operator tells this traffic from people's."""
    return f"less-sync-validate ({context.run.id.hex()[:8]}; {context.check.id})"


async def bounded(response: httpx.Response, bytes_max: int) -> bytes:
    """The body of an answer as it came. Raises Faulty `too-long`."""
    parts: list[bytes] = []
    size_bytes = 0
    async for part in response.aiter_raw():
        size_bytes += len(part)
        if size_bytes > bytes_max:
            raise Faulty("too-long")
        parts.append(part)
    return b"".join(parts)


def _step(error: BaseException) -> str:
    """How far a connection came, by the kind of error behind the library's own."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "tls-handshake"
        if isinstance(cause, socket.gaierror):
            return "dns"
        cause = cause.__cause__ or cause.__context__
    return "connect"


__all__ = ["Answer", "Closed", "Ended", "Target", "user_agent"]
