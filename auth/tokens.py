"""Access tokens: JWTs of trusted issuers, checked in the order of docs/tokens.md 3.2 (RFC 7519, RFC 8725).

Two steps, because finding the key may need the network and nothing here does:
`parse_token` says which issuer's key is needed, `verify_token` does the rest with it.
"""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from less_sync.auth.encoding import (
    b64url_decode,
    int_member,
    parse_json_object,
    parse_uuid,
    text_member,
    text_of,
    texts_member,
)
from less_sync.auth.errors import (
    ExpiredToken,
    InvalidToken,
    MalformedText,
    MissingToken,
    TokenCheck,
    UntrustedIssuer,
)
from less_sync.auth.es256 import Es256Signature
from less_sync.auth.identity import PERSONAL_SPACE_ROOTS, Identity, personal_space_id

TOKEN_CHARS_MAX: Final = 16_384
"""Longer tokens are refused unread (docs/tokens.md 3.2)."""

NOT_BEFORE_LEEWAY_S: Final = 60
"""How far ahead of our clock `nbf` may be."""


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What this deployment asks of a token beyond a trusted signature."""

    audiences: frozenset[str] = frozenset()
    """A token must name one of them; empty: `aud` is not looked at."""
    require_exp: bool = True
    personal_space_check: Literal["claim", "derive"] = "claim"
    """`derive`: a `personal_space_id` claim must be the derived one, under one of `namespaces`."""
    namespaces: tuple[UUID, ...] = tuple(PERSONAL_SPACE_ROOTS.values())


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed token that claims a trusted issuer. Nothing it says is true yet."""

    issuer: str
    """Normalised: the key of the trusted-issuer map."""
    kid: str = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: Es256Signature = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Claims:
    """The typed claims of docs/tokens.md 3.3, absent strings empty."""

    sub: str
    client_id: str
    scope: str
    personal_space_id: str
    did: str
    mailbox_id: str
    jti: str
    audiences: list[str]
    exp: int | None
    nbf: int | None


def normalize_issuer(issuer: str) -> str:
    """Remove every trailing slash; nothing else is the same issuer."""
    return issuer.rstrip("/")


def parse_token(token: str, trusted_issuers: Container[str]) -> UnverifiedToken:
    """Read a token as far as its key: checks 1 to 6 of docs/tokens.md 3.2.

    The form of the signature is looked at before the key is, so that a token that cannot verify never causes
    a key fetch.

    Args:
        trusted_issuers: normalised issuers.

    Raises:
        MissingToken: the text is empty.
        InvalidToken: too long, or malformed, or of another algorithm, or without `kid`.
        UntrustedIssuer: `iss` is absent or not trusted.
    """
    if not token:
        raise MissingToken
    if len(token) > TOKEN_CHARS_MAX:
        raise InvalidToken(TokenCheck.LENGTH)
    if token.count(".") != 2:
        raise InvalidToken(TokenCheck.SEGMENTS)
    header, payload, signature = token.split(".")
    reading = TokenCheck.HEADER
    try:
        header_members = parse_json_object(b64url_decode(header))
        fault = header_fault(header_members)
        if fault is None and header_members.get("kid") is None:
            fault = TokenCheck.KEY_ID
        if fault is not None:
            raise InvalidToken(fault)
        reading = TokenCheck.PAYLOAD
        claims = parse_json_object(b64url_decode(payload))
        reading = TokenCheck.ISSUER_TYPE
        issuer = normalize_issuer(_issuer(claims))
        if issuer not in trusted_issuers:
            raise UntrustedIssuer
        reading = TokenCheck.SIGNATURE_FORM
        return UnverifiedToken(
            issuer=issuer,
            kid=header_members["kid"],
            claims=claims,
            signing_input=f"{header}.{payload}".encode("ascii"),
            signature=Es256Signature.parse(signature),
        )
    except MalformedText:
        raise InvalidToken(reading) from None


def header_fault(header: dict[str, Any]) -> TokenCheck | None:
    """Why a header is not plain ES256, one algorithm and no extension (RFC 8725 3.1), or None.

    `typ` and `kid` may be missing; present, they are text.
    """
    if header.get("alg") != "ES256":
        return TokenCheck.ALGORITHM
    if "crit" in header:
        return TokenCheck.EXTENSION
    for name, check in (("typ", TokenCheck.TYPE), ("kid", TokenCheck.KEY_ID)):
        if header.get(name) is not None and not _is_text(header[name]):
            return check
    return None


def _is_text(value: object) -> bool:
    try:
        text_of(value)
    except MalformedText:
        return False
    return True


def _issuer(claims: dict[str, Any]) -> str:
    issuer = claims.get("iss")
    if issuer is None:
        raise UntrustedIssuer
    return text_of(issuer)


def verify_token(
    token: UnverifiedToken, key: EllipticCurvePublicKey, *, policy: TokenPolicy, now: float
) -> Identity:
    """Check signature and claims, checks 8 to 13 of docs/tokens.md 3.2, and say who is asking.

    Args:
        key: the key `token.kid` names in the set of `token.issuer` and of no other issuer.
        now: Unix seconds.

    Raises:
        InvalidToken: forged, or a claim of the wrong type or value.
        ExpiredToken: the whole second `exp` is over.
    """
    if not token.signature.verifies(key, token.signing_input):
        raise InvalidToken(TokenCheck.SIGNATURE)
    try:
        claims = _typed(token.claims)
    except MalformedText:
        raise InvalidToken(TokenCheck.CLAIM_TYPE) from None
    _check_times(claims, require_exp=policy.require_exp, now_s=int(now))
    if policy.audiences and policy.audiences.isdisjoint(claims.audiences):
        raise InvalidToken(TokenCheck.AUDIENCE)
    if not claims.sub or not claims.client_id:
        raise InvalidToken(TokenCheck.SUBJECT)
    identity = Identity(
        issuer=token.claims["iss"],
        user_id=claims.sub,
        client_id=claims.client_id,
        personal_space_id=claims.personal_space_id,
        did=claims.did,
        mailbox_id=claims.mailbox_id,
        scope=claims.scope,
        expires_at=claims.exp or 0,
        token_id=claims.jti,
        personal_space=parse_uuid(claims.personal_space_id),
    )
    if policy.personal_space_check == "derive" and claims.personal_space_id:
        _check_personal_space(identity, policy.namespaces)
    return identity


def _typed(claims: dict[str, Any]) -> _Claims:
    return _Claims(
        sub=text_member(claims, "sub"),
        client_id=text_member(claims, "client_id"),
        scope=text_member(claims, "scope"),
        personal_space_id=text_member(claims, "personal_space_id"),
        did=text_member(claims, "did"),
        mailbox_id=text_member(claims, "mailbox_id"),
        jti=text_member(claims, "jti"),
        audiences=texts_member(claims, "aud"),
        exp=int_member(claims, "exp"),
        nbf=int_member(claims, "nbf"),
    )


def _check_times(claims: _Claims, *, require_exp: bool, now_s: int) -> None:
    # RFC 7519 4.1.4 refuses from `exp` on; here the whole second `exp` still counts (docs/tokens.md 1.4).
    if claims.exp is None:
        if require_exp:
            raise InvalidToken(TokenCheck.NO_EXPIRY)
    elif now_s > claims.exp:
        raise ExpiredToken
    if claims.nbf is not None and claims.nbf > now_s + NOT_BEFORE_LEEWAY_S:
        raise InvalidToken(TokenCheck.NOT_YET)


def _check_personal_space(identity: Identity, namespaces: tuple[UUID, ...]) -> None:
    # Otherwise any trusted issuer could name the spaces of another issuer's users (docs/tokens.md 2.3).
    derived = [
        personal_space_id(root, identity.issuer, identity.user_id, identity.client_id) for root in namespaces
    ]
    if identity.personal_space not in derived:
        raise InvalidToken(TokenCheck.PERSONAL_SPACE)
