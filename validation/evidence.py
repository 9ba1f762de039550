"""What a check exchanged with its target, as text that can be read and is bounded (docs/validation.md 7.3).

Blocks `#N ATTEMPT OFFSET ms`, then what went (`>`) and what came (`<`). Bodies up to 4 KiB are shown if they
are plain UTF-8, else 256 bytes in hex; frames in CBOR diagnostic notation (RFC 8949, section 8). Nothing is
masked here: everything is, at the one place where files are written.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import cbor2

EVIDENCE_BYTES_MAX: Final = 2 * 1024 * 1024
BODY_SHOWN_BYTES_MAX: Final = 4096
HEX_SHOWN_BYTES: Final = 256
STRING_SHOWN_BYTES_MAX: Final = 32
NODES_SHOWN_MAX: Final = 2000
"""Items of one frame that are shown: one of 4 MiB has thousands of the same."""


@dataclass(slots=True)
class Evidence:
    """Grows while a check runs. What comes behind 2 MiB is counted, not kept."""

    began_s: float = field(default_factory=time.monotonic)
    attempt: int = 1
    blocks: list[str] = field(default_factory=list)
    count: int = 0
    size_bytes: int = 0
    dropped_bytes: int = 0

    def request(self, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes | None) -> None:
        """An HTTP request that was sent."""
        lines = [f"> {method} {path}", *(f"> {name}: {value}" for name, value in headers)]
        self._add("\n".join([*lines, *_body(body, ">")]))

    def answer(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """The answer to it."""
        lines = [f"< {status}", *(f"< {name}: {value}" for name, value in headers)]
        self._add("\n".join([*lines, *_body(body, "<")]))

    def sent(self, frame: bytes) -> None:
        """A WebSocket message of ours."""
        self._add(f"> {shown_frame(frame)}")

    def received(self, message: bytes | str) -> None:
        """One of the server's."""
        self._add(
            f"< {shown_frame(message) if isinstance(message, bytes) else 'text ' + json.dumps(message)}"
        )

    def closed(self, code: int, reason: str) -> None:
        """How a WebSocket ended; 1006 without a close frame."""
        self._add(f"< close {code} {json.dumps(reason)}")

    def statement(self, sql: str, told: str) -> None:
        """A query, and what may be told of its rows: counts, and names of the catalogue's objects."""
        self._add(f"> {sql.strip()}\n< {told}")

    def command(self, argv: Sequence[str], status: int | None, output: str) -> None:
        """A program that was run; no status: it was stopped."""
        told = "stopped" if status is None else f"exit {status}"
        self._add(f"> {json.dumps(list(argv))}\n< {told}\n{output}")

    def note(self, text: str) -> None:
        """Anything else, in words."""
        self._add(text)

    @property
    def text(self) -> str:
        """All of it; empty when there was nothing."""
        cut = [f"({self.dropped_bytes} bytes more are not kept)\n"] if self.dropped_bytes else []
        return "".join([*self.blocks, *cut])

    def _add(self, text: str) -> None:
        self.count += 1
        offset_ms = int((time.monotonic() - self.began_s) * 1000)
        block = f"#{self.count} {self.attempt} {offset_ms} ms\n{text}\n"
        size_bytes = len(block.encode(errors="surrogatepass"))
        if self.dropped_bytes or self.size_bytes + size_bytes > EVIDENCE_BYTES_MAX:
            self.dropped_bytes += size_bytes
            return
        self.size_bytes += size_bytes
        self.blocks.append(block)


def _body(body: bytes | None, mark: str) -> list[str]:
    if body is None:
        return []
    told = f"{mark} ({len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()})"
    if not body:
        return [told]
    text = _plain(body) if len(body) <= BODY_SHOWN_BYTES_MAX else None
    shown = body[:HEX_SHOWN_BYTES].hex() if text is None else text
    return [*(f"{mark} {line}" for line in shown.split("\n")), told]


def _plain(body: bytes) -> str | None:
    """Text without control characters but line breaks and tabs, or None."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char in "\n\t" or char.isprintable() for char in text) else None


def shown_frame(frame: bytes) -> str:
    """A message in diagnostic notation; in hex where it is no CBOR."""
    try:
        return _diagnostic(cbor2.loads(frame), iter(range(NODES_SHOWN_MAX)))
    except Exception:  # whatever the meanings of tags raise, or the depth: it is a server's to choose
        return f"no CBOR: {_string(frame)}"


def _diagnostic(value: object, nodes: Iterable[int]) -> str:
    if next(iter(nodes), None) is None:
        return "..."
    match value:
        case bytes():
            return _string(value)
        case str() if len(value) > 16 * STRING_SHOWN_BYTES_MAX:
            digest = hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()[:16]
            return f"{json.dumps(value[:64])}...({len(value)} characters, sha256 {digest})"
        case Mapping():
            items = (f"{_diagnostic(key, nodes)}: {_diagnostic(one, nodes)}" for key, one in value.items())
            return f"{{{', '.join(items)}}}"
        case list() | tuple():
            return f"[{', '.join(_diagnostic(one, nodes) for one in value)}]"
        case None | bool() | int() | str():
            return json.dumps(value)
        case _:
            return repr(value)


def _string(value: bytes) -> str:
    if len(value) <= STRING_SHOWN_BYTES_MAX:
        return f"h'{value.hex()}'"
    digest = hashlib.sha256(value).hexdigest()[:16]
    return f"h'{value[:16].hex()}...'({len(value)} bytes, sha256 {digest})"
