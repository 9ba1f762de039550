"""What the head of an upload says, checked in the order of docs/files.md 2.1 before its body is touched."""

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from starlette.datastructures import Headers

from less_sync.auth import parse_uuid

WRAPPED_DEK_BYTES: Final = 44

_MIB: Final = 1024 * 1024
_BASE64: Final = re.compile(r"([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,20}\Z", re.ASCII)


class RequestRefused(Exception):
    """A request ends here.

    Attributes:
        status: of the answer.
        error: what its body says.
        may_pass: the same may work a little later.
    """

    def __init__(self, status: int, error: str, *, may_pass: bool = False) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error
        self.may_pass = may_pass


@dataclass(frozen=True, slots=True)
class UploadHead:
    """What an upload says of its content."""

    record: UUID
    wrapped_dek: bytes = field(repr=False)
    length: int
    """Bytes of the body."""


def read_upload_head(headers: Headers, *, bytes_max: int) -> UploadHead:
    """Read the head of an upload.

    Args:
        bytes_max: of a content.

    Raises:
        RequestRefused: 400, 411 or 413, for the first thing that is wrong.
    """
    return UploadHead(_record(headers), _wrapped_dek(headers), _length(headers, bytes_max))


def record_named(headers: Headers) -> UUID | None:
    """The record that an upload names, to be asked about before it is known whether the head is good."""
    text = _ascii(headers, "x-record-id")
    return None if text is None else parse_uuid(text)


def ucan_shown(headers: Headers) -> str:
    """The UCAN that came along, "" for none."""
    return _ascii(headers, "x-ucan") or ""


def _ascii(headers: Headers, name: str) -> str | None:
    """The first value of a header. One with other bytes than ASCII counts as absent."""
    value = headers.get(name)
    return value if value is not None and value.isascii() else None


def _record(headers: Headers) -> UUID:
    text = _ascii(headers, "x-record-id")
    if text is None:
        raise RequestRefused(400, "X-Record-ID header required")
    record = parse_uuid(text)
    if record is None:
        raise RequestRefused(400, "X-Record-ID must be a valid UUID")
    return record


def _wrapped_dek(headers: Headers) -> bytes:
    text = _ascii(headers, "x-wrapped-dek")
    if text is None:
        raise RequestRefused(400, "X-Wrapped-DEK header required")
    decoded = decoded_dek(text)
    if decoded is None:
        raise RequestRefused(400, "X-Wrapped-DEK must be valid base64")
    if len(decoded) != WRAPPED_DEK_BYTES:
        raise RequestRefused(400, f"X-Wrapped-DEK must decode to exactly {WRAPPED_DEK_BYTES} bytes")
    return decoded


def decoded_dek(text: str) -> bytes | None:
    """What a header says of a wrapped DEK; None if it is no base64. The length is for the caller to check.

    Standard alphabet with padding and unused bits of zero (RFC 4648 3.5 and 4): one text for each value.
    """
    try:
        decoded = base64.b64decode(text, validate=True) if _BASE64.match(text) else None
    except binascii.Error:
        return None
    return decoded if decoded is not None and base64.b64encode(decoded).decode() == text else None


def _length(headers: Headers, bytes_max: int) -> int:
    text = headers.get("content-length")
    if text is None:  # of a chunked body too
        raise RequestRefused(411, "Content-Length required")
    if not _DIGITS.match(text):
        raise RequestRefused(400, "invalid Content-Length header")
    length = int(text)
    if length > bytes_max:
        raise RequestRefused(413, f"file exceeds {bytes_max // _MIB} MB limit")
    return length
