"""One request: its head, and its body once it is here."""

import time
from collections.abc import Callable, Mapping
from random import getrandbits
from typing import Final

from less_sync.volume.http.paths import NOTHING, Named, split_path, text, unescape

SHOWN_MAX: Final = 20
"""Characters of what a client wrote that a log shows."""
COOKIE_DIGITS: Final = 8
QUERY_PARAMETERS_MAX: Final = 10_000
"""Further ones are not looked at."""


class Body:
    """The bytes of a request's body: `buffer[start:end]`.

    There are at least 20 bytes before `start` and `TAIL_BYTES_MAX` behind `end`, so that a record is
    completed around the data without copying it. The buffer belongs to the request until its end: no view of
    it may be used after that.
    """

    __slots__ = ("buffer", "end", "error", "start", "too_large")

    def __init__(self, buffer: bytearray, start: int, end: int) -> None:
        self.buffer = buffer
        self.start = start
        self.end = end
        self.too_large = False
        """More came than may be kept; it was counted and thrown away, and `buffer` holds nothing."""
        self.error = ""
        """Why the body is not whole; the connection answers such a request itself."""

    def __len__(self) -> int:
        return self.end - self.start

    def view(self) -> memoryview:
        """The bytes, without copying them."""
        return memoryview(self.buffer)[self.start : self.end]


class Request:
    """The head of a request, taken apart as far as somebody asks, and its body (RFC 9110 section 6).

    `path` is decoded and `query` is not; bytes that are no UTF-8 are lone surrogates in both.
    `content_length` is what the client announced, None for a chunked body, 0 without one.
    """

    fields: Mapping[bytes, bytes]
    """The first value of each header by its lower-case name."""
    # Defaults of the class, not slots: most requests set few of these, and making one costs half as much.
    peer_ip: str = ""
    is_public: bool = False
    is_http10: bool = False
    keep_alive: bool = True
    expects_continue: bool = False
    unmet_expectation: bool = False
    """It asks for something else than `100-continue`, which nobody here can do."""
    content_length: int | None = 0
    body: Body | None = None
    common: str = ""
    """Header lines that every answer to this request begins with; set when it is dispatched."""
    gone: bool = False
    """The client has closed its side: nobody waits for the answer."""
    on_gone: Callable[[], None] | None = None
    """Called when `gone` becomes true."""
    started_ns: int = 0
    counted_as: str = ""
    _lines: list[tuple[bytes, bytes]]
    _headers: list[tuple[bytes, bytes]] | None = None
    _params: dict[str, list[str]] | None = None
    _named: Named | None = None
    _request_id: str = ""

    def __init__(self, method: str, target: bytes, path: str, query: str) -> None:
        self.method = method
        self.target = target
        self.path = path
        self.query = query

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header without blanks around it; `name` in lower case."""
        return self.fields.get(name)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """All headers as they came, names in lower case."""
        if self._headers is None:
            self._headers = [(name.lower(), value.rstrip()) for name, value in self._lines]
        return self._headers

    def set_headers(self, lines: list[tuple[bytes, bytes]]) -> None:
        """Give the request its headers, as they came."""
        self._lines = lines
        fields: dict[bytes, bytes] = {}
        for name, value in lines:
            fields.setdefault(name.lower(), value.rstrip())
        self.fields = fields

    def adopt_headers(self, other: "Request") -> None:
        """Have the headers of another request, and what they say about connection and body."""
        self.fields = other.fields
        self._lines = other._lines
        self.content_length = other.content_length
        self.keep_alive = other.keep_alive
        if other.is_http10:
            self.is_http10 = True
        if other.expects_continue:
            self.expects_continue = True
        if other.unmet_expectation:
            self.unmet_expectation = True

    @property
    def header_count(self) -> int:
        """How many there are, repeated ones included."""
        return len(self._lines)

    @property
    def params(self) -> dict[str, list[str]]:
        """The parameters of the query by name. Those that cannot be decoded are left out."""
        if self._params is None:
            self._params = parse_query(self.query)
        return self._params

    def param(self, name: str) -> str:
        """The first value of a query parameter, or nothing."""
        if not self.query:
            return ""
        values = self.params.get(name)
        return values[0] if values else ""

    @property
    def request_id(self) -> str:
        """24 upper-case hexadecimal digits, made up here."""
        return self._request_id or self.identify(time.time_ns())

    def identify(self, now_ns: int) -> str:
        """Give the request its id."""
        self._request_id = found = new_request_id(now_ns)
        return found

    @property
    def named(self) -> Named:
        """What the path names."""
        if self._named is None:
            self._named = split_path(self.path) if self.path else NOTHING
        return self._named

    @property
    def shown(self) -> str:
        """What it is about, for a log: volume and needle, without the cookie, which opens the file."""
        return f"{self.vid_text[:SHOWN_MAX]},{self.fid_text[:-COOKIE_DIGITS][:SHOWN_MAX]}"

    @property
    def vid_text(self) -> str:
        """The volume, as the client wrote it."""
        return self.named.vid

    @property
    def fid_text(self) -> str:
        """The needle, as the client wrote it, without an extension."""
        return self.named.fid

    @property
    def filename(self) -> str:
        """The name in `/vid/fid/name`."""
        return self.named.filename

    @property
    def extension(self) -> str:
        """With its dot."""
        return self.named.extension


def new_request_id(now_ns: int) -> str:
    """24 upper-case hexadecimal digits: the time in Unix nanoseconds, and 32 random bits."""
    return f"{now_ns:016X}{getrandbits(32):08X}"


def parse_query(query: str) -> dict[str, list[str]]:
    """The parameters of a query by name, in their order; parts that cannot be decoded are left out."""
    found: dict[str, list[str]] = {}
    for part in query.split("&", QUERY_PARAMETERS_MAX)[:QUERY_PARAMETERS_MAX]:
        if not part or ";" in part:
            continue
        name, _, value = part.encode("utf-8", "surrogateescape").partition(b"=")
        try:
            key, content = text(unescape(name, plus=True)), text(unescape(value, plus=True))
        except ValueError:
            continue
        found.setdefault(key, []).append(content)
    return found
