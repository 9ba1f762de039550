"""The headers that every response of the application carries, the 101 of an upgrade included."""

from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final

from less_sync.sync.http.upgrade import Refusal

COMMON_HEADERS: Final = (
    ("X-Protocol-Version", "1"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, PUT, HEAD, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Content-Type, Content-Length, Authorization, X-UCAN, X-Wrapped-DEK, X-Record-ID, X-DID-Proof",
    ),
    ("Access-Control-Expose-Headers", "X-Wrapped-DEK"),
    ("Access-Control-Max-Age", "86400"),
)
"""Name and value, exactly as sent, whether or not a request has an `Origin` (docs/operations.md 4.2)."""
CROSS_ORIGIN: Final = "access-control-"
"""How the names of those begin that let scripts of other origins read an answer."""

_COMMON_LINES: Final = "".join(f"{name}: {value}\r\n" for name, value in COMMON_HEADERS)


def head_lines(now_s: float) -> str:
    """`Date`, by which clients see that their clock is wrong (RFC 9110 6.6.1), and the common headers."""
    return _lines_at(int(now_s))


@lru_cache(maxsize=1)
def _lines_at(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n{_COMMON_LINES}"


def last_answer(refusal: Refusal, now_s: float) -> bytes:
    """A refused upgrade as the last response of its connection."""
    body = (refusal.text or "").encode()
    kind = "" if refusal.text is None else "Content-Type: text/plain; charset=utf-8\r\n"
    head = f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n{head_lines(now_s)}{kind}"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode("latin-1") + body


def common_headers(*, expose_etag: bool = False) -> list[tuple[bytes, bytes]]:
    """`COMMON_HEADERS` as ASGI takes them: lower-case names, bytes.

    Args:
        expose_etag: lets scripts of other origins read `ETag` as well.
    """
    values = dict(COMMON_HEADERS)
    if expose_etag:
        values["Access-Control-Expose-Headers"] += ", ETag"
    return [(name.lower().encode(), value.encode()) for name, value in values.items()]
