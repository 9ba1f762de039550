"""Who is asking and what they were granted.

Pure: time, keys and fetches are arguments. Imports no other room.
"""

from auth.config import parse_audiences, parse_trusted_issuers
from auth.encoding import b64url_decode, b64url_encode, granted_scopes, parse_json_object, parse_uuid
from auth.errors import (
    AuthError,
    ExpiredToken,
    InvalidToken,
    KeysUnavailable,
    MalformedText,
    MissingToken,
    UntrustedIssuer,
)
from auth.identity import PERSONAL_SPACE_ROOTS, Identity, personal_space_id
from auth.jwks import JWKS_BYTES_MAX, JwksPolicy, KeyCache, KeyDecision, Keys, parse_jwk, parse_jwks
from auth.tokens import (
    TOKEN_CHARS_MAX,
    TokenPolicy,
    UnverifiedToken,
    normalize_issuer,
    parse_token,
    verify_token,
)

__all__ = [
    "JWKS_BYTES_MAX",
    "PERSONAL_SPACE_ROOTS",
    "TOKEN_CHARS_MAX",
    "AuthError",
    "ExpiredToken",
    "Identity",
    "InvalidToken",
    "JwksPolicy",
    "KeyCache",
    "KeyDecision",
    "Keys",
    "KeysUnavailable",
    "MalformedText",
    "MissingToken",
    "TokenPolicy",
    "UntrustedIssuer",
    "UnverifiedToken",
    "b64url_decode",
    "b64url_encode",
    "granted_scopes",
    "normalize_issuer",
    "parse_audiences",
    "parse_json_object",
    "parse_jwk",
    "parse_jwks",
    "parse_token",
    "parse_trusted_issuers",
    "parse_uuid",
    "personal_space_id",
    "verify_token",
]
