"""Access tokens: JWTs of trusted issuers, checked in the order of docs/tokens.md 3.2 (RFC 7519, RFC 8725).

Two steps, because finding the key may need the network and nothing here does:
`parse_token` says which issuer's key is needed, `verify_token` does the rest with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal
from uuid import UUID

from less_sync.auth.encoding import (
    b64url_decode,
    granted_scopes,
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
from less_sync.auth.identity import PERSONAL_SPACE_ROOTS, Identity, personal_space_id, server_mailbox_id
from less_sync.auth.issuer_keys import IssuerKey
from less_sync.auth.issuers import DEFAULT_ALGORITHMS, Issuer, TrustedIssuers, normalize_issuer
from less_sync.auth.signatures import ALGORITHMS, Signature

TOKEN_CHARS_MAX: Final = 16_384
"""Longer tokens are refused unread (docs/tokens.md 3.2)."""

NOT_BEFORE_LEEWAY_S: Final = 60
"""How far ahead of our clock `nbf` may be."""

HEADERS_REMEMBERED: Final = 64
"""Headers of tokens, of which all that one key signs have the same."""
HEADER_CHARS_REMEMBERED: Final = 512

_ACCESS_TOKEN_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""In lower case: media types have no case (RFC 7515 4.1.9, RFC 9068 2.1)."""


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """What this deployment asks of a token beyond a trusted signature."""

    audiences: frozenset[str] = frozenset()
    """A token must name one of them; empty: `aud` is not looked at."""
    require_exp: bool = True
    personal_space_check: Literal["claim", "derive"] = "claim"
    """`derive`: a `personal_space_id` claim must be the derived one, under one of `namespaces`."""
    namespaces: tuple[UUID, ...] = tuple(PERSONAL_SPACE_ROOTS.values())
    mailbox_key: bytes | None = field(default=None, repr=False)
    """`IDENTITY_HASH_KEY`; needed where identities are derived."""


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed token that claims a trusted issuer. Nothing it says is true yet."""

    issuer: str
    """Normalised: the key of the trusted-issuer map."""
    kid: str = field(repr=False)
    claims: dict[str, Any] = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: Signature = field(repr=False)
    rules: Issuer | None = field(default=None, repr=False)
    """Those of `ISSUERS_FILE`; None: the issuer is one of `TRUSTED_ISSUERS`."""


@dataclass(frozen=True, slots=True)
class _Claims:
    """The typed claims of docs/tokens.md 3.3, absent strings empty."""

    sub: str
    client_id: str
    scope: str
    """As it stands, or with rules what they grant: `sync`, `files`, both or nothing."""
    personal_space_id: str
    did: str
    mailbox_id: str
    jti: str
    audiences: list[str]
    exp: int | None
    nbf: int | None


def parse_token(token: str, issuers: TrustedIssuers) -> UnverifiedToken:
    """Read a token as far as its key: checks 1 to 6 of docs/tokens.md 3.2.

    The form of the signature is looked at before the key is, so that a token that cannot verify never causes
    a key fetch.

    Raises:
        MissingToken: the text is empty.
        InvalidToken: too long, or malformed, or of an algorithm that is not its issuer's, or without `kid`.
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
        header_members = _header(header)
        fault = header_fault(header_members, issuers.algorithms)
        if fault is None and header_members.get("kid") is None:
            fault = TokenCheck.KEY_ID
        if fault is not None:
            raise InvalidToken(fault)
        reading = TokenCheck.PAYLOAD
        claims = parse_json_object(b64url_decode(payload))
        reading = TokenCheck.ISSUER_TYPE
        issuer = normalize_issuer(_issuer(claims))
        rules = issuers.ruled.get(issuer)
        if rules is None and issuer not in issuers.plain:
            raise UntrustedIssuer
        fault = _kind_fault(header_members, claims, rules)
        if fault is not None:
            raise InvalidToken(fault)
        reading = TokenCheck.SIGNATURE_FORM
        return UnverifiedToken(
            issuer=issuer,
            kid=header_members["kid"],
            claims=claims,
            signing_input=f"{header}.{payload}".encode("ascii"),
            signature=ALGORITHMS[header_members["alg"]].parse(signature),
            rules=rules,
        )
    except MalformedText:
        raise InvalidToken(reading) from None


def _header(segment: str) -> Mapping[str, Any]:
    """The members of a header, read-only: all tokens of one key have the same."""
    if len(segment) > HEADER_CHARS_REMEMBERED:
        return parse_json_object(b64url_decode(segment))
    return _remembered_header(segment)


@lru_cache(maxsize=HEADERS_REMEMBERED)
def _remembered_header(segment: str) -> Mapping[str, Any]:
    return MappingProxyType(parse_json_object(b64url_decode(segment)))


def header_fault(
    header: Mapping[str, Any], algorithms: frozenset[str] = DEFAULT_ALGORITHMS
) -> TokenCheck | None:
    """Why a header is not plain, of a configured algorithm and without extension (RFC 8725 3.1), or None.

    `typ` and `kid` may be missing; present, they are text.
    """
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        return TokenCheck.ALGORITHM
    if "crit" in header:
        return TokenCheck.EXTENSION
    for name, check in (("typ", TokenCheck.TYPE), ("kid", TokenCheck.KEY_ID)):
        if header.get(name) is not None and not _is_text(header[name]):
            return check
    return None


def _kind_fault(header: Mapping[str, Any], claims: dict[str, Any], rules: Issuer | None) -> TokenCheck | None:
    """Why a token cannot be one of this issuer's that says who signs in, or None (docs/tokens.md 4.6)."""
    if rules is None:
        return None if header["alg"] in DEFAULT_ALGORITHMS else TokenCheck.ALGORITHM
    if header["alg"] not in rules.algorithms:
        return TokenCheck.ALGORITHM
    if header.get("typ") is not None and header["typ"].lower() not in _ACCESS_TOKEN_TYPES:
        return TokenCheck.KIND
    # Logout tokens and security events (RFC 8417) are signed by the same keys, and name people too.
    return TokenCheck.EVENTS if "events" in claims else None


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


def verify_token(token: UnverifiedToken, key: IssuerKey, *, policy: TokenPolicy, now: float) -> Identity:
    """Check signature and claims, checks 8 to 13 of docs/tokens.md 3.2, and say who is asking.

    Args:
        key: the key `token.kid` names in the set of `token.issuer` and of no other issuer.
        now: Unix seconds.

    Raises:
        InvalidToken: forged, or a claim of the wrong type or value.
        ExpiredToken: the whole second `exp` is over.
    """
    if not token.signature.verifies(key, token.signing_input):
        fault = TokenCheck.SIGNATURE if token.signature.fits(key) else TokenCheck.KEY_ALGORITHM
        raise InvalidToken(fault)
    rules = token.rules
    try:
        claims = _typed(token.claims) if rules is None else _ruled(token.claims, rules)
    except MalformedText:
        raise InvalidToken(TokenCheck.CLAIM_TYPE) from None
    _check_times(claims, require_exp=policy.require_exp, now_s=int(now))
    audiences = rules.audiences if rules is not None and rules.audiences else policy.audiences
    if audiences and audiences.isdisjoint(claims.audiences):
        raise InvalidToken(TokenCheck.AUDIENCE)
    if not claims.sub or not claims.client_id:
        raise InvalidToken(TokenCheck.SUBJECT)
    if rules is not None and "\0" in claims.sub + claims.client_id:
        raise InvalidToken(TokenCheck.NUL)
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
    if rules is not None and rules.derived:
        return _derived(identity, policy)
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


def _ruled(claims: dict[str, Any], rules: Issuer) -> _Claims:
    """The claims as the issuer's table says they are to be read (docs/tokens.md 4.6)."""
    scopes = granted_scopes(text_member(claims, "scope")).union(_scp(claims))
    audiences = texts_member(claims, "aud")
    rights = (("sync", rules.sync), ("files", rules.files))
    # Other identities take these claims as they are. People can often edit them at an identity provider.
    told = {} if rules.derived else claims
    return _Claims(
        sub=text_member(claims, "sub"),
        client_id=rules.client_fixed or text_member(claims, rules.client_claim),
        scope=" ".join(name for name, grant in rights if grant.covers(scopes, audiences)),
        personal_space_id=text_member(told, "personal_space_id"),
        did=text_member(told, "did"),
        mailbox_id=text_member(told, "mailbox_id"),
        jti=text_member(claims, "jti"),
        audiences=audiences,
        exp=int_member(claims, "exp"),
        nbf=int_member(claims, "nbf"),
    )


def _scp(claims: dict[str, Any]) -> frozenset[str]:
    """What some issuers write instead of `scope`: a list, or a text with blanks."""
    return frozenset(scope for text in texts_member(claims, "scp") for scope in granted_scopes(text))


def _derived(identity: Identity, policy: TokenPolicy) -> Identity:
    assert policy.mailbox_key is not None, "no settings have rules for derived identities without it"
    space = personal_space_id(
        PERSONAL_SPACE_ROOTS["betterbase"], identity.issuer, identity.user_id, identity.client_id
    )
    return replace(
        identity,
        personal_space_id=str(space),
        personal_space=space,
        mailbox_id=server_mailbox_id(policy.mailbox_key, identity.issuer, identity.user_id),
        derived=True,
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
