"""One request about a file and its answer, for `sync.client.files`: what is sent, and what comes back means.

Nothing is connected here.
"""

import json
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import httpcore

from less_sync.sync.client.errors import (
    FileRefused,
    FilesNotServed,
    FilesScopeMissing,
    FileTooLarge,
    NotThisProtocol,
    ServerUnavailable,
    SyncClientError,
    TokenRefused,
)
from less_sync.sync.client.link import clock_difference

WRAPPED_DEK_BYTES: Final = 44

_ROUTE: Final = "/ws"
_PORTS: Final = {"http": 80, "https": 443}
_NOT_THE_TOKEN: Final = ("authorization required", "X-UCAN header too large")
"""Words of a 401 that another token would not change."""
_BELOW_THE_APPLICATION: Final = (400, 411, 413, 414, 431)
"""Answered to a request that did not get as far as to be the protocol's, by a server or a proxy."""
_MAY_PASS: Final = (408, 429)


class Base(NamedTuple):
    """Where a server has its routes."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> "Base":
        """Take it from the address of the WebSocket route.

        Raises:
            NotThisProtocol: it is none.
        """
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").encode("idna").decode()
            scheme = {"ws": "http", "wss": "https"}[parts.scheme]
            port = parts.port or _PORTS[scheme]
        except (LookupError, ValueError) as error:
            raise NotThisProtocol(f"not a WebSocket address: {url}") from error
        if not host or not parts.path.endswith(_ROUTE):
            raise NotThisProtocol(f"not the address of a sync server: {url}")
        return cls(scheme, host, port, parts.path.removesuffix(_ROUTE))

    @property
    def authority(self) -> str:
        """The value of `Host` (RFC 9112 3.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def url(self, target: str) -> httpcore.URL:
        """The address of a target below the base."""
        return httpcore.URL(scheme=self.scheme, host=self.host, port=self.port, target=self.path + target)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, to be sent once or more often."""

    method: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    size_bytes: int = 0
    content: Callable[[], AsyncIterator[bytes]] | None = None

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the content once more.

        Raises:
            ValueError: it is not of the size that was told.
        """
        assert self.content is not None
        left_bytes = self.size_bytes
        pieces = self.content()
        try:
            async for piece in pieces:
                left_bytes -= len(piece)
                if left_bytes < 0:
                    break
                yield piece
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()
        if left_bytes:
            raise ValueError(f"the content of a file is not of the {self.size_bytes} bytes that were told")


class Answer:
    """The head of an answer; its body is still to be read."""

    def __init__(self, response: httpcore.Response) -> None:
        self.response = response
        self.status = response.status
        self._headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}

    @property
    def is_ours(self) -> bool:
        """Whether a sync server made it (docs/files.md)."""
        return b"x-protocol-version" in self._headers

    @property
    def is_no_file(self) -> bool:
        """Whether it says that there is no such file, or space: unlike no such route, in JSON."""
        return self.status == 404 and self.is_ours and self._is_json

    @property
    def _is_json(self) -> bool:
        return self._headers.get(b"content-type", "").startswith("application/json")

    def described(self) -> tuple[bytes, int]:
        """The wrapped DEK and the size of the file that follows.

        Raises:
            NotThisProtocol: the answer has not both.
        """
        try:
            dek = b64decode(self._headers[b"x-wrapped-dek"], validate=True)
            size_bytes = int(self._headers[b"content-length"])
        except (LookupError, ValueError, Base64Error):
            raise NotThisProtocol("an answer that says neither key nor size of a file") from None
        if len(dek) != WRAPPED_DEK_BYTES:
            raise NotThisProtocol(f"a wrapped DEK of {len(dek)} bytes")
        return dek, size_bytes

    def error(self, body: bytes, now: datetime) -> SyncClientError:
        """What it means, as it is not what was hoped for."""
        words = _error_of(body)
        if self.status >= 500 or self.status in _MAY_PASS:
            text = f"the server is not ready (HTTP {self.status}{': ' + words if words else ''})"
            return ServerUnavailable(text)
        if self.status < 400 or not (self.is_ours or self.status in _BELOW_THE_APPLICATION):
            return NotThisProtocol(f"the other end answers HTTP {self.status} to a request for a file")
        match self.status, words:
            case 401, _ if words not in _NOT_THE_TOKEN:
                date = self._headers.get(b"date")
                return TokenRefused(self.status, words, clock_difference(date, now))
            case 403, "files scope required":
                return FilesScopeMissing()
            case 404, _ if not self._is_json:
                return FilesNotServed()
            case 413, _:
                return FileTooLarge(words)
        return FileRefused(self.status, words)


def _error_of(body: bytes) -> str:
    try:
        error = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        return ""
    return error if isinstance(error, str) else ""
