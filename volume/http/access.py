"""Where a request's token comes from."""

from typing import Final

from less_sync.volume.http.paths import text
from less_sync.volume.http.request import Request

SCHEME_BYTES: Final = 7
"""`Bearer` and whatever single byte stands behind it."""


def token_of(request: Request) -> str:
    """The first text that is not empty of: parameter `jwt`, `Authorization: Bearer`, cookie `AT`.

    A token that is there and wrong is not passed over for the next place.
    """
    if request.query and (token := request.param("jwt")):
        return token
    authorization = request.header(b"authorization")
    has_scheme = authorization is not None and authorization[:6].upper() == b"BEARER"
    if authorization is not None and has_scheme and len(authorization) > SCHEME_BYTES:
        return text(authorization[SCHEME_BYTES:])
    return _cookie(request, b"AT")


def _cookie(request: Request, wanted: bytes) -> str:
    if request.header(b"cookie") is None:
        return ""
    for name, value in request.headers:
        if name != b"cookie":
            continue
        for pair in value.split(b";"):
            key, equals, content = pair.strip().partition(b"=")
            if equals and key.strip() == wanted:
                if len(content) > 1 and content[:1] == content[-1:] == b'"':
                    content = content[1:-1]
                return text(content)
    return ""
