"""JSON as existing servers write it, byte for byte."""

import json
import re
from collections.abc import Sequence
from typing import Final

from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Header, Response

JSON_HEADERS: Final[tuple[Header, ...]] = (
    ("Content-Type", "application/json"),
    ("X-Content-Type-Options", "nosniff"),
)
_SPECIAL: Final = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_ESCAPED: Final = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def to_json(value: object, *, pretty: bool = False) -> bytes:
    """Compact, or indented by two spaces; keys keep their order.

    `<`, `>`, `&`, U+2028 and U+2029 are escaped; what was no UTF-8 when it came (a lone surrogate) becomes
    `\\ufffd`; everything else that is not ASCII stays.
    """
    if pretty:
        plain = json.dumps(value, ensure_ascii=False, indent=2)
    else:
        plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    # Only strings can hold these characters, so that replacing them in the whole text touches nothing else.
    if _SPECIAL.search(plain) is not None:
        plain = _SPECIAL.sub(lambda found: _ESCAPED.get(found[0], "\\ufffd"), plain)
    return plain.encode()


def json_response(request: Request, status: int, value: object, headers: Sequence[Header] = ()) -> Response:
    """An answer of JSON, indented if the query has a `pretty` that is not empty; `headers` come first."""
    body = to_json(value, pretty=bool(request.query) and bool(request.param("pretty")))
    return Response(status, [*headers, *JSON_HEADERS], body)


def json_error(request: Request, status: int, text: str) -> Response:
    """`{"error":"..."}`, the form of every refusal that has a text."""
    return json_response(request, status, {"error": text})
