"""Secrets, masked by value at the only place where files are written (docs/validation.md 7.4).

A run knows what must not be told: whatever secret it read, made or received, in each spelling in which a
server may give it back. All spellings together are thousands of byte strings, and a report may have 64 MiB:
so they are not searched one by one. Of each, one window is entered under its eight (or four) bytes at every
alignment; the text is then looked at once, in steps of eight (or four) bytes, and only where a window is
found is a spelling compared. That is exact: any spelling that is there covers such a step.

A second net knows no values but shapes: tokens, private keys, passwords in URLs. It masks nothing. What it
finds was registered by nobody, so the report as a whole cannot be trusted (`secret-in-report`).
"""

import base64
import hashlib
import hmac
import html
import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import compress, count
from typing import Final, Literal
from urllib.parse import quote, unquote, urlsplit

from less_sync.validation.evidence import STRING_SHOWN_BYTES_MAX

VALUE_CHARS_MIN: Final = 8
"""Shorter ones would mask half the report; of a database's URL a shorter password is masked in URLs."""
LINE_CHARS_MIN: Final = 16
"""Lines of a secret of several lines, that are masked alone as well: a transcript sets a mark before each."""

_LONG: Final = 8
_SHORT: Final = 4
_LONG_MIN: Final = 2 * _LONG - 1
"""A spelling at least this long covers a whole step wherever it begins."""
_SHORT_MIN: Final = 2 * _SHORT - 1
_CUT_TEXT_CHARS: Final = 64
_CUT_BYTES: Final = 16
"""How much of a long text or byte string a transcript shows (`evidence.py`)."""


@dataclass(frozen=True, slots=True)
class _Spelling:
    """A byte string to be found, and what stands in its place."""

    found: bytes = field(repr=False)
    named: bytes
    """With a digest under the run's key: equal secrets look equal."""
    plain: bytes
    """The same in every run."""


@dataclass(slots=True)
class _Windows:
    """Spellings by a part of them, of this many bytes."""

    step: int
    code: Literal["Q", "I"]
    """Of `memoryview.cast`, for this step."""
    parts: dict[int, tuple[tuple[int, _Spelling], ...]] = field(default_factory=dict)
    """With the offset of the part in the spelling."""

    def enter(self, spelling: _Spelling) -> None:
        # The last window: tokens of one issuer begin alike and end in a signature.
        last = len(spelling.found) - (2 * self.step - 1)
        for offset in range(last, last + self.step):
            part = spelling.found[offset : offset + self.step]
            word = memoryview(part).cast(self.code)[0]
            self.parts[word] = (*self.parts.get(word, ()), (offset, spelling))

    def spans(self, data: bytes) -> Iterator[tuple[int, int, _Spelling]]:
        """(start, end, spelling) of all that is in the data."""
        if not self.parts:
            return
        whole = len(data) - len(data) % self.step
        parts = self.parts
        words = memoryview(data)[:whole].cast(self.code)
        for index in compress(count(), map(parts.__contains__, words)):
            for offset, spelling in parts[words[index]]:
                start = index * self.step - offset
                if start >= 0 and data.startswith(spelling.found, start):
                    yield start, start + len(spelling.found), spelling


class Redactor:
    """Knows every secret that the run read, made or received.

    Args:
        key: of the digests in its markers; as long as the run.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self.known: dict[str, str] = {}
        """Name by value."""
        self._key = key or secrets.token_bytes(32)
        self._seen: set[bytes] = set()
        self._windows = (_Windows(_LONG, "Q"), _Windows(_SHORT, "I"))

    def add(self, name: str, value: str | bytes) -> None:
        """From now on this value is masked in whatever is written, in each of its spellings.

        Args:
            name: what the marker calls it: `[secret:NAME:DIGEST]`. One with a colon, like `did:owner` or
                `path:backup`, is no secret, only nobody's business: `[did:owner]`.
            value: bytes, of a key that is no text.
        """
        raw = value.encode(errors="surrogatepass") if isinstance(value, str) else value
        text = value if isinstance(value, str) else ""
        if text in self.known or (not text and raw in self._seen):
            return
        if text:
            self.known[text] = name
        self._add_passwords(name, text)
        if len(raw) >= VALUE_CHARS_MIN:
            named, plain = self._markers(name, raw)
            for found in _spellings(raw, text):
                self._enter(_Spelling(found, named, plain))

    def _add_passwords(self, name: str, text: str) -> None:
        """The password of a URL: everywhere if it is long enough, else where it can be nothing else."""
        try:
            parts = urlsplit(text) if "://" in text else None
        except ValueError:
            return
        if parts is None or not parts.password:
            return
        password = unquote(parts.password)
        if len(password) >= VALUE_CHARS_MIN:
            self.add(name, password)
        named, plain = self._markers(name, password.encode())
        for spelled in {parts.password, password, quote(password, safe="")}:
            for before, after in ((f"://{parts.username or ''}:", "@"), ("password=", "")):
                whole = f"{before}{spelled}{after}".encode()
                if len(whole) >= _SHORT_MIN:
                    around = (before.encode(), after.encode())
                    self._enter(_Spelling(whole, named.join(around), plain.join(around)))

    def _markers(self, name: str, raw: bytes) -> tuple[bytes, bytes]:
        if ":" in name:
            told = f"[{name}]".encode()
            return told, told
        return f"[secret:{name}:{self.digest(raw)}]".encode(), f"[secret:{name}]".encode()

    def digest(self, raw: bytes) -> str:
        """8 hex digits of a value: equal ones look equal, and nobody can guess from them."""
        return hmac.new(self._key, raw, hashlib.sha256).hexdigest()[:8]

    def _enter(self, spelling: _Spelling) -> None:
        if spelling.found in self._seen or len(spelling.found) < _SHORT_MIN:
            return
        self._seen.add(spelling.found)
        long, short = self._windows
        (long if len(spelling.found) >= _LONG_MIN else short).enter(spelling)

    def mask(self, text: str) -> str:
        """The text with every known value in it replaced."""
        return self._masked(text, named=True)

    def mask_stable(self, text: str) -> str:
        """As `mask`, with markers that are the same in every run."""
        return self._masked(text, named=False)

    def mask_shapes(self, text: str) -> str:
        """As `mask_stable`; a text in which the net finds something is left out whole."""
        masked = self.mask_stable(text)
        shapes = net(masked.encode(errors="surrogatepass"))
        return f"[left-out:{','.join(shapes)}]" if shapes else masked

    def _masked(self, text: str, *, named: bool) -> str:
        data = text.encode(errors="surrogatepass")
        parts: list[bytes] = []
        end = 0
        for start, stop, spelling in self._spans(data):
            if start < end:
                if stop > end:  # the rest of one that begins inside another goes too
                    end = stop
                continue
            parts += [data[end:start], spelling.named if named else spelling.plain]
            end = stop
        if not end:
            return text
        return b"".join([*parts, data[end:]]).decode(errors="surrogatepass")

    def _spans(self, data: bytes) -> list[tuple[int, int, _Spelling]]:
        """In order, of those that begin at one place the longest first."""
        found = (span for windows in self._windows for span in windows.spans(data))
        return sorted(found, key=lambda span: (span[0], -span[1]))

    def mask_transcript(self, text: str) -> str:
        """As `mask`, for logs and evidence: there also whatever looks like one of people's identifiers.

        A server may tell of users that the run does not know: of their keys, and of addresses of 64 hex
        digits. Digests that a transcript itself gives stand behind the word `sha256` and stay.
        """
        text = _HEADERS.sub(self._header, self.mask(text))
        text = _DIDS.sub(lambda found: f"[did:{self.digest(found[0].encode())}]", text)
        return _HEX_64.sub(lambda found: f"[hex:{self.digest(found[0].lower().encode())}]", text)

    def _header(self, found: re.Match[str]) -> str:
        return f"{found[1]}[secret:header:{self.digest(found[2].encode())}]"

    def scan(self, data: bytes) -> list[str]:
        """What is in these bytes that must not be: names of known values, and `net:SHAPE` of unknown ones."""
        named = {spelling.plain.decode() for _, _, spelling in self._spans(data)}
        return [*sorted(named), *(f"net:{shape}" for shape in net(data))]


_HEADERS: Final = re.compile(
    r"(?im)^((?:[<>] )?(?:proxy-)?(?:authorization|cookie|set-cookie|x-ucan|x-did-proof|x-admin-token): *)"
    r"([^\[\s][^\n]*)$"
)
"""Whose values are masked whole; those that a marker begins already are."""
_DIDS: Final = re.compile(r"did:key:z[1-9A-HJ-NP-Za-km-z]{8,}")
_HEX_64: Final = re.compile(r"(?<!sha256 )(?<![0-9a-fA-F])[0-9a-fA-F]{64}(?![0-9a-fA-F])")


def _spellings(raw: bytes, text: str) -> Iterator[bytes]:
    """All ways in which a value may be written, itself first."""
    yield raw
    if text:
        yield from _text_spellings(text)
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    for alignment in range(3):
        for alphabet in (base64.b64encode, base64.urlsafe_b64encode):
            yield _inner_base64(raw, alignment, alphabet)
    if len(raw) > STRING_SHOWN_BYTES_MAX:
        yield f"h'{raw[:_CUT_BYTES].hex()}...'(".encode()


def _text_spellings(text: str) -> Iterator[bytes]:
    shown = json.dumps(text, ensure_ascii=False)[1:-1]
    escaped = json.dumps(text)[1:-1]
    ways = [
        *(shown, escaped, json.dumps(escaped)[1:-1], shown.replace("/", "\\/"), repr(text)[1:-1]),
        re.sub("[<>&]", lambda one: f"\\u{ord(one[0]):04x}", shown),
        *(html.escape(text), html.escape(text, quote=False)),
        *(html.escape(text).replace("&#x27;", one) for one in ("&#39;", "&apos;")),
        *(text.replace("\n", end) for end in ("\r\n", "\\r\\n", "&#10;", "&#xA;", "")),
    ]
    for safe in ("", "/", "~-._", "/:@"):
        percent = quote(text, safe=safe, errors="surrogatepass")
        ways += [
            percent,
            percent.replace("%20", "+"),
            _LOWER_PERCENT.sub(lambda one: one[0].lower(), percent),
        ]
    for way in ways:
        yield way.encode(errors="surrogatepass")
    if len(text) > _CUT_TEXT_CHARS:
        yield f"{json.dumps(text[:_CUT_TEXT_CHARS])[1:]}...(".encode()
    lines = [line for line in text.splitlines() if len(line) >= LINE_CHARS_MIN and line[:5] != "-----"]
    if "\n" in text:
        yield from (line.encode(errors="surrogatepass") for line in lines)
        yield "".join(lines).encode(errors="surrogatepass")


_LOWER_PERCENT: Final = re.compile("%[0-9A-F]{2}")


def _inner_base64(raw: bytes, alignment: int, encode: Callable[[bytes], bytes]) -> bytes:
    """The characters of base64 that depend on this value alone, when it begins at this place of three."""
    encoded = encode(bytes(alignment) + raw)
    first = -(-alignment * 8 // 6)
    return encoded[first : (alignment + len(raw)) * 8 // 6]


_JWT: Final = re.compile(rb"eyJ[\w-]{5,}+\.[\w-]{5,}+\.[\w-]{5,}+", re.ASCII)
_RUN: Final = re.compile(rb"[\w-]++", re.ASCII)
_PEM: Final = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:\s|\\[rn]|&#10;|[<>] ){0,16}[A-Za-z0-9+/]{16}"
)
_PASSWORD: Final = re.compile(rb"://[^\s/?#@:\"'<>]{0,256}:([^\s/?#@\"'<>]{1,256})@")
_NO_PASSWORD: Final = re.compile(
    rb"\[[A-Za-z0-9_-]+:[^\[\]\s]{1,200}\]|\$\{?[A-Z_0-9]+\}?|\*+|x{3,}|[A-Z_]*PASSWORD"
)
_HEX_VALUE: Final = re.compile(rb"[=:]\s{0,3}(?:\\?[\"'])?[0-9a-fA-F]{64}(?![0-9a-fA-F])")
_NAME_BEFORE: Final = re.compile(rb"[A-Z0-9_]*(?:KEY|SECRET|TOKEN|PASSWORD)[A-Z0-9_]*(?:\\?[\"'])?\s{0,3}\Z")
_NAME_BYTES_MAX: Final = 80


def net(data: bytes) -> list[str]:
    """Shapes of secrets in these bytes: `token`, `private-key`, `password`, `key`. Linear in their number."""
    found = []
    if _token(data):
        found.append("token")
    if _PEM.search(data) is not None:
        found.append("private-key")
    if any(_NO_PASSWORD.fullmatch(one[1]) is None for one in _PASSWORD.finditer(data)):
        found.append("password")
    values = _HEX_VALUE.finditer(data)
    names = (data[max(0, one.start() - _NAME_BYTES_MAX) : one.start()] for one in values)
    if any(_NAME_BEFORE.search(name) is not None for name in names):
        found.append("key")
    return found


def _token(data: bytes) -> bool:
    """Whether three parts with dots between are there, the first of which begins like JSON in base64url."""
    start = data.find(b"eyJ")
    while start >= 0:
        if _JWT.match(data, start) is not None:
            return True
        run = _RUN.match(data, start)
        assert run is not None
        start = data.find(b"eyJ", run.end())  # the same end came after it, wherever in this run it begins
    return False
