"""What a client asks of a write beside the file: query, form fields, text parts of a multipart body."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import parse_number
from less_sync.volume.format.ttl import NO_TTL, parse_ttl
from less_sync.volume.http import media_types
from less_sync.volume.http.multipart import PLAIN_MULTIPART
from less_sync.volume.http.paths import raw_bytes, text, unescape
from less_sync.volume.http.request import QUERY_PARAMETERS_MAX

FORM_BYTES_MAX: Final = 10 << 20
"""Of a form-encoded body."""
TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
TYPES_KEPT_MAX: Final = 256
TYPE_KEPT_BYTES_MAX: Final = 256
FORM_TYPE: Final = "application/x-www-form-urlencoded"


class ParameterError(Exception):
    """A query or a form that cannot be read; the text is what the client is told."""


@dataclass(slots=True)
class Parameters:
    """Of one write. A value that cannot be read counts as not given, as with existing servers."""

    last_modified: int = 0
    """Unix seconds; 0 is now."""
    ttl: int = NO_TTL
    is_manifest: bool = False
    is_durable: bool = False
    is_replica: bool = False
    """It comes from another server of the volume and is not passed on."""


NONE: Final = Parameters()
"""Of a write without any. Shared: nobody changes it."""


def parse_strictly(encoded: str) -> dict[str, str]:
    """The first value of each parameter of a query or a form.

    Raises:
        ParameterError: a semicolon, or a percent sign without two hexadecimal digits.
    """
    found: dict[str, str] = {}
    parts = encoded.split("&", QUERY_PARAMETERS_MAX)
    if len(parts) > QUERY_PARAMETERS_MAX:
        raise ParameterError("number of URL query parameters exceeded limit")
    for part in parts:
        if ";" in part:
            raise ParameterError("invalid semicolon separator in query")
        if part:
            name, _, value = part.partition("=")
            found.setdefault(_unescaped(name), _unescaped(value))
    return found


def _unescaped(part: str) -> str:
    try:
        return text(unescape(raw_bytes(part), plus=True))
    except ValueError:
        at = next(at for at, sign in enumerate(part) if sign == "%" and not _is_escape(part[at : at + 3]))
        raise ParameterError(f'invalid URL escape "{part[at : at + 3]}"') from None


def _is_escape(escape: str) -> bool:
    return len(escape) == 3 and all(digit in "0123456789abcdefABCDEF" for digit in escape[1:])


def is_form(content_type: bytes | None) -> bool:
    """Whether the body is form-encoded.

    Raises:
        ParameterError: the type cannot be read.
    """
    if not content_type or PLAIN_MULTIPART.fullmatch(content_type) is not None:
        return False
    told = (_told if len(content_type) <= TYPE_KEPT_BYTES_MAX else _told.__wrapped__)(content_type)
    if isinstance(told, str):
        raise ParameterError(told)
    return told


@lru_cache(TYPES_KEPT_MAX)
def _told(content_type: bytes) -> bool | str:
    """The same, or what is wrong. Clients send few types beside boundaries; to read one takes 10 us."""
    try:
        return media_types.parse(content_type).type == FORM_TYPE
    except media_types.MediaTypeError as fault:
        return str(fault)


def parameters_of(values: dict[str, str], fields: dict[str, str]) -> Parameters:
    """Read the parameters; `fields` (of a multipart body) count where `values` lack a name.

    Existing servers do not look at the fields. Programs that send them mean them.
    """
    if not values and not fields:
        return NONE
    return Parameters(
        last_modified=_seconds(values.get("ts") or fields.get("ts", "")),
        ttl=_ttl(values.get("ttl") or fields.get("ttl", "")),
        is_manifest=(values.get("cm") or fields.get("cm")) in TRUE,
        is_durable=values.get("fsync") == "true",
        is_replica=values.get("type") == "replicate",
    )


def _seconds(value: str) -> int:
    try:
        return parse_number(value)
    except FormatError:
        return 0


def _ttl(value: str) -> int:
    try:
        return parse_ttl(value)
    except FormatError:
        return NO_TTL
