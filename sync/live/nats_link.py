"""One connection to one NATS server, on nats-py. The only module that knows that library.

Of nats-py are taken: connecting with TLS and with every kind of credentials, parsing, and the pings that
notice a silent server. Not taken is its reconnecting: a fault that it does not expect leaves it half dead,
and a server that has stopped reading holds up its close for ever. So a link is used once. When it is `lost`,
for whatever reason, the bus closes it at once and opens another. Messages come by one overridden hook,
without a task and a queue for each subject.

nats-py is pinned to a minor version: the hooks are its own methods, and a test drives each of them.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from urllib.parse import ParseResult

from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

CONNECT_S_MAX: Final = 5.0
"""Until a server has taken a connection, its TLS and its credentials."""
STEP_S_MAX: Final = 2
"""For each step of that."""
CLOSE_S_MAX: Final = 0.5
"""How long what was written last may take to leave. A server that does not read is not waited for longer."""

READ_BYTES: Final = 64 * 1024

_PING: Final = b"PING\r\n"


class NatsError(Exception):
    """A server cannot be used. `str()` is for the operator and holds no secret."""


class NatsCredentials(NamedTuple):
    """What a NATS credentials file holds: who one is, and the proof of it."""

    jwt: str
    sign: Callable[[bytes], bytes]
    """Signs the server's nonce (Ed25519)."""


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """One server."""

    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    """Without one, `user` is a token."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class NatsAccess:
    """How the servers of one NATS are reached (docs/scaling.md 2.1). Secrets are read at each connect."""

    servers: tuple[NatsAddress, ...]
    tls: ssl.SSLContext | None = None
    """Whom to trust. With it nothing but a handshake is sent to a server that has not proven who it is."""
    handshake_first: bool = False
    """TLS begins with the first byte, as the server must be told (`tls { handshake_first: true }`)."""
    token: Callable[[], str] | None = None
    credentials: Callable[[], NatsCredentials] | None = None


class Pings(NamedTuple):
    """A server that answers none of `unanswered_max` pings is lost when the next one is due."""

    interval_s: int = 2
    unanswered_max: int = 2


class _TlsProtocol(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool:
        # The base wants to keep a half-closed connection, which TLS has none of, and asyncio complains.
        super().eof_received()
        return False


class _Transport(TcpTransport):
    """nats-py's, that is let go of at once, and ends TLS without a complaint."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # it has no types there

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: int,
    ) -> None:
        """Encrypt. What came in clear behind the first line is in the former reader, and nobody reads it."""
        assert self._io_writer is not None, "only after connect"
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=READ_BYTES, loop=loop)
        protocol = _TlsProtocol(reader, loop=loop)
        transport = await loop.start_tls(
            self._io_writer.transport,
            protocol,
            ssl_context,
            server_hostname=uri if isinstance(uri, str) else uri.hostname,
            ssl_handshake_timeout=connect_timeout,
        )
        assert transport is not None
        self._io_reader, self._io_writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def abort(self) -> None:
        """Let go of the connection, whatever waits to be written."""
        for writer in (self._io_writer, self._bare_io_writer):
            if writer is not None:
                writer.transport.abort()


class NatsLink(Client):
    """Open once, use until `lost`, close. Nothing here is called from another thread.

    `hear` is called with each message, `refused` when the server permits a subject not. Neither may raise.
    """

    def __init__(self, hear: Callable[[bytes], None], refused: Callable[[str], None]) -> None:
        super().__init__()
        self.lost: Final[asyncio.Future[str]] = asyncio.get_running_loop().create_future()
        """Why this link is of no use any more."""
        self._hear: Final = hear
        self._tell_refused: Final = refused
        self._must_encrypt = False
        self._tls_from_the_start = False

    @property
    def _wire(self) -> Any:
        """The transport, whose methods have no types."""
        return self._transport

    # What the bus calls.

    async def open(self, address: NatsAddress, access: NatsAccess, name: str, pings: Pings) -> None:
        """Connect, prove who is there, and wait for the first PONG.

        Raises:
            NatsError: not within `CONNECT_S_MAX`, or not to be trusted, or we are not.
        """
        self._must_encrypt = access.tls is not None
        self._tls_from_the_start = access.handshake_first
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await self.connect(
                    f"nats://{address}",
                    name=name,
                    error_cb=_quiet,
                    allow_reconnect=False,
                    connect_timeout=STEP_S_MAX,
                    ping_interval=pings.interval_s,
                    max_outstanding_pings=pings.unanswered_max,
                    no_echo=True,
                    **_identity(address, access),
                    **_encryption(access),
                )
        except NatsError:
            raise
        except Exception as error:
            # Whatever a server says that nats-py does not expect, it is one that cannot be used.
            raise NatsError(_words(error)) from error
        if not self.is_connected:
            raise NatsError("it did not answer as a NATS server does")

    def write(self, commands: Sequence[bytes]) -> None:
        """Hand commands to the connection, in order; `drained` says when more may follow.

        Raises:
            ConnectionError: it is closed already.
        """
        # Joined: each piece would be encrypted and framed by itself.
        data = b"".join(commands)
        try:
            self._wire.write(data)
        except RuntimeError as error:  # uvloop's way to say that the loss was noticed; asyncio says nothing
            raise ConnectionResetError("it hung up") from error

    async def drained(self) -> None:
        """Wait until little of what was written is still here. Ends with `lost` at the latest."""
        await self._wire.drain()

    def ping(self, answered: Callable[[], None]) -> None:
        """Have `answered` called once the server has taken all that was written before this."""
        pong: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        pong.add_done_callback(lambda _: answered())
        # Written at once: nats-py's own way sends a ping ahead of commands that wait.
        self._pongs.append(pong)
        self.write([_PING])

    def give_up(self, reason: str) -> None:
        """Let it be lost."""
        if not self.lost.done():
            self.lost.set_result(reason)

    async def wait_lost(self) -> str:
        """Wait until this link is of no use any more, and say why."""
        reading = self._reading_task
        assert reading is not None, "only after open"
        await asyncio.wait({self.lost, reading}, return_when=asyncio.FIRST_COMPLETED)
        # A fault of its own ends the reading without a word to anybody.
        return self.lost.result() if self.lost.done() else "reading from it has ended"

    async def close_link(self, *, politely: bool) -> None:
        """End it. Politely: what was written still leaves, within `CLOSE_S_MAX`."""
        self._status = Client.CLOSED
        tasks = [
            task
            for task in (self._reading_task, self._ping_interval_task, self._flusher_task)
            if task is not None
        ]
        try:
            if politely and self._transport is not None:
                self._wire.close()
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(CLOSE_S_MAX):
                        await self._wire.wait_closed()
        finally:
            for task in tasks:
                task.cancel()
            if isinstance(self._transport, _Transport):
                self._transport.abort()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not self.lost.done():
                self.lost.cancel()

    # What nats-py calls. All are its own methods, replaced.

    async def _select_next_server(self) -> None:
        # Once, and no other: which server is next is for the bus to say.
        self._current_server = server = self._server_pool[0]
        self._transport = transport = _Transport()
        await transport.connect(server.uri, buffer_size=READ_BYTES, connect_timeout=STEP_S_MAX)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Servers that this one knows of are not taken up: the operator names all that may be asked.
        if isinstance(info.get("max_payload"), int):
            self._max_payload = info["max_payload"]
        if not (initial_connection and self._must_encrypt) or self._tls_from_the_start:
            return
        if not (info.get("tls_required") or info.get("tls_available")):
            # Nothing was sent so far. nats-py would go on in clear.
            raise NatsError("it does not offer TLS, which tls:// demands")
        info["tls_required"] = True

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        self._hear(data)

    async def _process_err(self, err_msg: str) -> None:
        if "permissions violation" in err_msg:
            self._tell_refused(err_msg.strip("'"))
        else:
            self.give_up(err_msg.strip("'"))

    async def _process_op_err(self, e: Exception) -> None:
        self.give_up(_words(e))


async def _quiet(error: Exception) -> None:
    """In place of nats-py's own logging: what it would say is in the exception that follows."""


def _identity(address: NatsAddress, access: NatsAccess) -> dict[str, Any]:
    if access.credentials is not None:
        held = access.credentials()
        return {
            "user_jwt_cb": lambda: held.jwt.encode(),
            "signature_cb": lambda nonce: base64.b64encode(held.sign(nonce.encode())),
        }
    if access.token is not None:
        return {"token": access.token()}
    if address.user is None:
        return {}
    if address.password is None:
        return {"token": address.user}
    return {"user": address.user, "password": address.password}


def _encryption(access: NatsAccess) -> dict[str, Any]:
    if access.tls is None:
        return {}
    return {"tls": access.tls, "tls_handshake_first": access.handshake_first}


def _words(error: BaseException) -> str:
    """What went wrong, in one line. No secret is in it: none is part of an address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, errors.UnexpectedEOF):
        return "it hung up"
    if isinstance(error, errors.StaleConnectionError):
        return "it is silent"
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    text = " ".join(str(error).split()).removeprefix("nats: ").strip("'")
    return text or type(error).__name__
