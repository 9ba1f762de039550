"""Files of spaces over HTTP (docs/files.md): `FileClient`, beside the `SyncClient` of the same server.

Contents pass through in pieces, both ways: memory does not grow with them. Nothing is repeated but a request
whose token was refused, once and with a fresh one. httpcore is used by itself, not through httpx, because it
lets its connections be replaced: see `sync.client.eager`.
"""

import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote
from uuid import UUID, uuid4

import httpcore
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.sync.client.eager import EagerBackend
from less_sync.sync.client.errors import (
    NO_CLOSE_FRAME,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    FileRefused,
    RequestTimeout,
    ServerUnavailable,
    SyncClientError,
    TokenRefused,
)
from less_sync.sync.client.exchange import Answer, Base, Exchange
from less_sync.sync.client.tokens import DidProofs, KeptToken, TokenSource

ERROR_BYTES_MAX: Final = 4096
"""More of an answer that is no file is not read."""


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bounds of a `FileClient`."""

    connections: int = 8
    """Requests beyond it wait for their turn, without a deadline."""
    open_timeout_s: float = 10.0
    idle_timeout_s: float = 60.0
    """Without a byte moved, in either direction."""
    keepalive_s: float = 30.0
    """How long a connection that rests is kept for the next request."""


@dataclass(frozen=True, slots=True, repr=False)
class FileInfo:
    """What the server knows of a file: its key as wrapped for the space, 44 bytes, and its size."""

    wrapped_dek: bytes
    size_bytes: int

    def __repr__(self) -> str:
        size = f"size_bytes={self.size_bytes}"
        return f"{type(self).__name__}(wrapped_dek=<{len(self.wrapped_dek)} bytes>, {size})"


@dataclass(frozen=True, slots=True, repr=False)
class FileDownload(FileInfo):
    """A file on its way here."""

    _pieces: AsyncIterator[bytes]

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the content from start to end, in pieces of any size up to 64 KiB or so. To be called once.

        Raises:
            ConnectionLost: it ended early, or is longer than the server said.
            RequestTimeout: no byte came in time.
        """
        left_bytes = self.size_bytes
        async for piece in self._pieces:
            left_bytes -= len(piece)
            if left_bytes < 0:
                break
            yield piece
        if left_bytes:
            raise ConnectionLost(NO_CLOSE_FRAME, "the file has another length than the server said")


class FileClient:
    """Files of spaces on one server, with one identity. Use as an async context manager; leaving closes.

    Any number of calls may be under way. Every call may raise, beside what it says itself:

    - `ServerUnavailable` (`ConnectFailed`, `ConnectionLost`, `RequestTimeout`): later the same may work;
    - `TokenUnavailable`, `TokenRefused`: also a fresh token was refused, or the source gives no other;
    - `FilesNotServed`, `FilesScopeMissing`, `FileRefused`: see there;
    - `NotThisProtocol`: something else answers, a proxy for instance;
    - `ClientClosed`.

    Proxies named by the environment are not used, and redirects not followed.

    Args:
        url: the address a `SyncClient` takes; files are found beside its WebSocket route.
        token_source: asked when there is no token yet, or the last one was refused.
        did_key: as for `SyncClient`.
        now: this machine's clock; replaced by tests.

    Raises:
        NotThisProtocol: `url` is no such address.
    """

    def __init__(
        self,
        url: str,
        token_source: TokenSource,
        *,
        did_key: EllipticCurvePrivateKey | None = None,
        limits: FileLimits | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._base = Base.of(url)
        self._limits = limits or FileLimits()
        self._token = KeptToken(token_source)
        self._proofs = DidProofs(did_key, now)
        self._now = now
        self._closed = False
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context() if self._base.scheme == "https" else None,
            max_connections=self._limits.connections,
            keepalive_expiry=self._limits.keepalive_s,
            network_backend=EagerBackend(),
        )

    async def __aenter__(self) -> Self:
        """Nothing is asked yet: `served` tells whether files can be used."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections; calls under way raise ClientClosed."""
        self._closed = True
        await self._pool.aclose()

    async def upload(
        self,
        space: str,
        file: UUID,
        *,
        record: UUID,
        wrapped_dek: bytes,
        size_bytes: int,
        content: Callable[[], AsyncIterator[bytes]],
        ucan: str = "",
    ) -> bool:
        """Store a file, bound to a record of the space; True: now, False: one of this id was there already.

        A repetition must send the same bytes, under the same key: which attempt was stored is not told.

        Args:
            wrapped_dek: 44 bytes: the epoch, then the key of the file, wrapped by that epoch's key.
            size_bytes: of the content.
            content: called for each attempt, two at most; yields `size_bytes` in pieces of up to 1 MiB.
                What it raises comes through.

        Raises:
            FileTooLarge: the server takes no file of this size.
            FileRefused: `record not found in this space` (400), `space not found` (404), `access denied`
                (403), `authorization required` (401: without a UCAN), and others.
            ConnectionLost, RequestTimeout: it may have been stored.
            ValueError: `content` gave another number of bytes; nothing was stored.
        """
        headers = _with_ucan(ucan) | {
            "X-Record-ID": str(record),
            "X-Wrapped-DEK": b64encode(wrapped_dek).decode(),
            "Content-Length": str(size_bytes),
            "Content-Type": "application/octet-stream",
        }
        request = Exchange("PUT", _target(space, file), headers, size_bytes, content)
        async with self._answered(request, (201, 204)) as answer:
            await self._short_body(answer)
            return answer.status == 201

    @asynccontextmanager
    async def download(
        self, space: str, file: UUID, *, ucan: str = ""
    ) -> AsyncGenerator[FileDownload | None, None]:
        """Fetch a file; None: there is none. Leaving the block ends the transfer.

        Raises:
            FileRefused: `access denied` (403), `authorization required` (401: without a UCAN), and others.
        """
        request = Exchange("GET", _target(space, file), _with_ucan(ucan))
        async with AsyncExitStack() as stack:
            try:
                answer = await stack.enter_async_context(self._answered(request, (200,)))
                pieces = await stack.enter_async_context(aclosing(self._pieces(answer, "GET")))
                found = FileDownload(*answer.described(), pieces)
            except FileRefused as refused:
                if refused.status != 404:
                    raise
                found = None
            yield found

    async def find(self, space: str, file: UUID, *, ucan: str = "") -> FileInfo | None:
        """What the server knows of a file, without its content; None: there is none.

        Raises: as `download`.
        """
        request = Exchange("HEAD", _target(space, file), _with_ucan(ucan))
        async with self._sent(request, await self._token.get()) as answer:
            await self._short_body(answer)
            if answer.status == 200:
                return FileInfo(*answer.described())
            if answer.is_no_file:
                return None
        # A refusal of HEAD has no words.
        async with self.download(space, file, ucan=ucan) as found:
            return found and FileInfo(found.wrapped_dek, found.size_bytes)

    async def served(self, space: str, *, ucan: str = "") -> None:
        """Ask whether files can be used in a space: return if so, and raise what a download would.

        Whether the caller may write there is not asked.
        """
        async with self.download(space, uuid4(), ucan=ucan):
            pass

    @asynccontextmanager
    async def _answered(self, request: Exchange, expected: tuple[int, ...]) -> AsyncGenerator[Answer, None]:
        """Send a request, again if its token was refused, and give the answer if it is as expected."""
        refused = ""
        while True:
            token = await self._token.get(but=refused)
            async with self._sent(request, token) as answer:
                if answer.status in expected and answer.is_ours:
                    yield answer
                    return
                error = answer.error(await self._short_body(answer), self._now())
            # Only another token can change this answer, and only one other is tried.
            if not isinstance(error, TokenRefused) or refused or await self._token.get(but=token) == token:
                raise error
            refused = token

    @asynccontextmanager
    async def _sent(self, request: Exchange, token: str) -> AsyncGenerator[Answer, None]:
        if self._closed:
            raise ClientClosed
        headers = {"Host": self._base.authority, "Authorization": f"Bearer {token}"} | request.headers
        if proof := self._proofs.of(token):
            headers["X-DID-Proof"] = proof
        idle_s = self._limits.idle_timeout_s
        timeout = {"connect": self._limits.open_timeout_s, "read": idle_s, "write": idle_s}
        async with AsyncExitStack() as stack:
            body = None
            if request.content is not None:
                body = await stack.enter_async_context(aclosing(request.body()))
            stream = self._pool.stream(
                request.method,
                self._base.url(request.target),
                headers=[(name.encode(), value.encode()) for name, value in headers.items()],
                content=body,
                extensions={"timeout": timeout},
            )
            with self._client_errors(request.method):
                response = await stack.enter_async_context(stream)
            yield Answer(response)

    async def _short_body(self, answer: Answer) -> bytes:
        """The body of an answer that is no file; once it is read, the connection serves the next request.

        The status counts even if this does not come.
        """
        body = b""
        try:
            async with aclosing(self._pieces(answer, "")) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) > ERROR_BYTES_MAX:
                        break
        except ServerUnavailable:
            pass
        return body

    async def _pieces(self, answer: Answer, method: str) -> AsyncGenerator[bytes, None]:
        with self._client_errors(method):
            async for piece in answer.response.aiter_stream():
                yield piece

    @contextmanager
    def _client_errors(self, method: str) -> Iterator[None]:
        try:
            yield
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise (ClientClosed() if self._closed else self._as_ours(error, method)) from None

    def _as_ours(self, error: Exception, method: str) -> SyncClientError:
        """What an error of httpcore means. It is not chained: its text may hold the token."""
        match error:
            case httpcore.ConnectTimeout():
                return ConnectFailed(f"no answer within {self._limits.open_timeout_s:g} s")
            case httpcore.ConnectError():
                return ConnectFailed(str(error))
            case httpcore.TimeoutException():
                return RequestTimeout(method, self._limits.idle_timeout_s)
            case httpcore.LocalProtocolError():
                return SyncClientError("a request with such a UCAN cannot be sent")
            case _:
                return ConnectionLost(NO_CLOSE_FRAME, str(error))


def _target(space: str, file: UUID) -> str:
    return f"/spaces/{quote(space, safe='')}/files/{file}"


def _with_ucan(ucan: str) -> dict[str, str]:
    return {"X-UCAN": ucan} if ucan else {}
