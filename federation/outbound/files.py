"""Files of spaces whose home is elsewhere: asked for by signed requests, and handed on as they come.

One request is one GET or HEAD of the home's route for servers, at the host and port of the link's address and
nowhere else: no redirect is followed and no proxy used (docs/federation.md 10).
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore
import structlog

from less_sync.auth import InvalidKeyId, sign_request
from less_sync.federation.outbound.calls import PeerAddress
from less_sync.federation.signing import Signer
from less_sync.storage import Turns
from less_sync.sync.client.eager import EagerBackend
from less_sync.sync.files.space_files import TooManyWaiting
from less_sync.sync.forwarding import FileAsked, HomeFault, HomeRefused, HomeUnreachable, RemoteFile
from less_sync.sync.http.file_heads import WRAPPED_DEK_BYTES, decoded_dek
from less_sync.sync.protocol.codes import ErrorCode

SCHEMES: Final = {"https": ("https", "http"), "http": ("http", "https")}
"""What is signed, by the scheme that is used, in the order in which it is tried."""

_OF_LINK: Final = {"wss": "https", "ws": "http"}
_PORTS: Final = {"https": 443, "http": 80}
_LINK_SUFFIX: Final = "/ws"
_NO_ANSWER: Final = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)
"""What becomes of a connection that ends, is silent, or carries no HTTP."""

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bounds of requests for files to other servers, as docs/federation.md 10 states them."""

    at_once: int = 32
    """Of one home; requests for contents and others count apart."""
    at_once_per_person: int = 8
    waiting_per_person: int = 64
    connections: int = 256
    """To all homes together, those that rest included."""
    rest_s: float = 30.0
    """How long a connection is kept for the next request."""
    connect_timeout_s: float = 5.0
    head_timeout_s: float = 20.0
    """For the head of the answer, with everything before it."""
    silence_s: float = 60.0
    """Without a byte of a content that is waited for."""


class _Route(NamedTuple):
    """Where a home has its routes for servers."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "_Route":
        """Beside the route of the link."""
        parts = urlsplit(url)
        scheme = _OF_LINK[parts.scheme]
        path = parts.path.removesuffix(_LINK_SUFFIX)
        return cls(scheme, parts.hostname or "", parts.port or _PORTS[scheme], path)

    @property
    def authority(self) -> str:
        """The value of `Host` (RFC 9112 3.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def key(self) -> tuple[str, int]:
        return self.host, self.port


@dataclass(slots=True)
class _Places:
    """How many requests to one home are under way, and whose turn it is."""

    contents: Turns
    heads: Turns
    """Apart, so that nobody waits behind slow contents to hear what is there."""
    users: int = 0


@dataclass(slots=True)
class HomeFiles:
    """One per process.

    Args:
        now: Unix seconds, for the signature.
        tls: for homes that are linked to over TLS.
        new_nonce: makes each signature another one, so that none is taken for a replay.
        schemes: what is signed, instead of `SCHEMES`.
    """

    signer: Signer
    now: Callable[[], float]
    tls: ssl.SSLContext
    new_nonce: Callable[[], str]
    schemes: Sequence[str] | None = None
    limits: FileLimits = field(default_factory=FileLimits)
    _places: dict[tuple[str, int], _Places] = field(init=False, default_factory=dict)
    _pool: httpcore.AsyncConnectionPool = field(init=False)

    def __post_init__(self) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=self.tls,
            max_connections=self.limits.connections,
            keepalive_expiry=self.limits.rest_s,
            # It pauses reading by itself; httpcore's own takes megabytes at a time from uvloop.
            network_backend=EagerBackend(),
        )

    async def aclose(self) -> None:
        """Close all connections; transfers under way break."""
        await self._pool.aclose()

    @asynccontextmanager
    async def file(
        self, address: PeerAddress, asked: FileAsked, *, person: str
    ) -> AsyncGenerator[RemoteFile, None]:
        """As `Forwarder.file`, of the home at `address`."""
        route = _Route.of(address.url)
        async with self._place(route, asked.content, person), AsyncExitStack() as stack:
            answer = await self._answer(route, asked, stack)
            size_bytes, wrapped_dek = _described(answer, asked)
            pieces = await stack.enter_async_context(aclosing(_pieces(answer)))
            yield RemoteFile(wrapped_dek, size_bytes, pieces)

    @asynccontextmanager
    async def _place(self, route: _Route, content: bool, person: str) -> AsyncGenerator[None, None]:
        limits = self.limits
        places = self._places.get(route.key)
        if places is None:
            contents, heads = (Turns(limits.at_once, each_max=limits.at_once_per_person) for _ in range(2))
            places = self._places[route.key] = _Places(contents, heads)
        turns = places.contents if content else places.heads
        if turns.waiting(person) >= limits.waiting_per_person:
            raise TooManyWaiting
        places.users += 1
        try:
            async with turns.place(person):
                yield
        finally:
            places.users -= 1
            if not places.users:
                del self._places[route.key]

    async def _answer(self, route: _Route, asked: FileAsked, stack: AsyncExitStack) -> httpcore.Response:
        """The head of an answer that has the file; `stack` ends the transfer.

        Raises:
            HomeRefused, HomeUnreachable, HomeFault: as `Forwarder.file`.
        """
        try:
            async with asyncio.timeout(self.limits.head_timeout_s):
                for scheme in self.schemes or SCHEMES[route.scheme]:
                    async with AsyncExitStack() as one:
                        answer = await self._sent(route, asked, scheme, one)
                        if not _signature_refused(answer):
                            stack.push_async_exit(one.pop_all())
                            return answer
        except (TimeoutError, *_NO_ANSWER):
            raise HomeUnreachable from None
        _log.warning("home does not take our signature of requests for files", home=route.host)
        raise HomeFault

    async def _sent(
        self, route: _Route, asked: FileAsked, scheme: str, stack: AsyncExitStack
    ) -> httpcore.Response:
        """Send one request; again if the home had closed a connection that rested, which shows only then."""
        try:
            return await stack.enter_async_context(self._request(route, asked, scheme))
        except (httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
            return await stack.enter_async_context(self._request(route, asked, scheme))

    @asynccontextmanager
    async def _request(
        self, route: _Route, asked: FileAsked, scheme: str
    ) -> AsyncGenerator[httpcore.Response, None]:
        target = f"{route.path}/spaces/{asked.space}/files/{asked.file}"
        method = "GET" if asked.content else "HEAD"
        headers = self._signed(route, method, f"{scheme}://{route.authority}{target}", asked.ucan)
        silence_s = self.limits.silence_s
        async with self._pool.stream(
            method,
            httpcore.URL(scheme=route.scheme, host=route.host, port=route.port, target=target),
            headers=[(name.encode(), value.encode()) for name, value in headers.items()],
            extensions={
                "timeout": {"connect": self.limits.connect_timeout_s, "read": silence_s, "write": silence_s}
            },
        ) as answer:
            yield answer

    def _signed(self, route: _Route, method: str, target_uri: str, ucan: str) -> dict[str, str]:
        signing = self.signer.primary()
        if signing is None:
            raise HomeUnreachable
        try:
            signature = sign_request(
                signing.key,
                key_id=signing.key_id,
                created=int(self.now()),
                method=method,
                target_uri=target_uri,
                host=route.authority,
                headers={"x-ucan": ucan},
                nonce=self.new_nonce(),
            )
        except InvalidKeyId:
            raise HomeUnreachable from None
        return {
            "Host": route.authority,
            "X-UCAN": ucan,
            "Signature-Input": signature.signature_input,
            "Signature": signature.signature,
        }


def _headers(answer: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers}


def _signature_refused(answer: httpcore.Response) -> bool:
    """A gate says so in plain text; where there is no route, something else refuses in another form."""
    return answer.status == 401 and _headers(answer).get("content-type", "").startswith("text/plain")


def _described(answer: httpcore.Response, asked: FileAsked) -> tuple[int, bytes]:
    """Size and wrapped key of the file that the home has.

    Raises:
        HomeRefused, HomeUnreachable, HomeFault: the answer is another one.
    """
    headers = _headers(answer)
    if answer.status != 200:
        raise _refused(answer.status, headers.get("content-type", "").startswith("application/json"))
    size, wrapped_dek = headers.get("content-length"), decoded_dek(headers.get("x-wrapped-dek", ""))
    # In any other framing a body could have another length than the client is told.
    if size is None or "transfer-encoding" in headers or headers.get("etag") != f'"{asked.file}"':
        raise HomeFault
    if wrapped_dek is None or len(wrapped_dek) != WRAPPED_DEK_BYTES:
        raise HomeFault
    return int(size), wrapped_dek


def _refused(status: int, in_json: bool) -> HomeRefused | HomeFault:
    """What a status means. Our own routes say everything in JSON; an existing server without this one
    answers 401 in JSON, because no bearer token came along, or 404 with nothing."""
    match status:
        case 401:
            return HomeRefused(ErrorCode.METHOD_NOT_FOUND)
        case 404:
            return HomeRefused(ErrorCode.NOT_FOUND if in_json else ErrorCode.METHOD_NOT_FOUND)
        case 403 if in_json:
            return HomeRefused(ErrorCode.FORBIDDEN)
        case 408 | 429:
            return HomeUnreachable()
    return HomeUnreachable() if status >= 500 else HomeFault()


async def _pieces(answer: httpcore.Response) -> AsyncGenerator[bytes, None]:
    """The content: as many bytes as `Content-Length` says, which the parser counts.

    Raises:
        HomeFault: it ended early, or nothing came for too long.
    """
    try:
        async for piece in answer.aiter_stream():
            yield piece
    except _NO_ANSWER:
        raise HomeFault from None
