"""The headers that every response of the application carries, the 101 of an upgrade included."""

from typing import Final

COMMON_HEADERS: Final = (
    ("X-Protocol-Version", "1"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Methods", "GET, PUT, HEAD, POST, OPTIONS"),
    (
        "Access-Control-Allow-Headers",
        "Content-Type, Content-Length, Authorization, X-UCAN, X-Wrapped-DEK, X-Record-ID",
    ),
    ("Access-Control-Expose-Headers", "X-Wrapped-DEK"),
    ("Access-Control-Max-Age", "86400"),
)
"""Name and value, exactly as sent, whether or not a request has an `Origin` (docs/operations.md 4.2)."""


def common_headers(*, expose_etag: bool = False) -> list[tuple[bytes, bytes]]:
    """`COMMON_HEADERS` as ASGI takes them: lower-case names, bytes.

    Args:
        expose_etag: lets scripts of other origins read `ETag` as well.
    """
    values = dict(COMMON_HEADERS)
    if expose_etag:
        values["Access-Control-Expose-Headers"] += ", ETag"
    return [(name.lower().encode(), value.encode()) for name, value in values.items()]
