"""What can be wrong with a credential.

AuthError
├── MalformedText            no strict base64url, JSON or claim; decoders raise it, verifiers never let it out
├── TokenError               an access token is refused; says by which check
│   ├── MissingToken         no token at all
│   ├── InvalidToken         wrong syntax, signature, claims or audience
│   │   └── KeysUnavailable  the issuer's key set cannot be fetched now: not the caller's fault
│   ├── ExpiredToken         `exp` has passed
│   └── UntrustedIssuer      `iss` is not configured
├── DiscoveryRefused         what an issuer says of itself is not accepted; no caller hears of it
├── DidKeyError              no `did:key` of a P-256 key
│   └── MissingPrefix, InputTooLong, Base58Decode, InvalidVarint, WrongMulticodec,
│       WrongPointLength, InvalidPoint
├── UnknownPermission        no command or value of a permission
├── UcanError                a chain that does not grant what is asked for; says at which link
│   ├── InvalidUcan          wrong syntax, signature, claims, times or number of proofs
│   ├── UcanExpired          `exp` of a link has passed
│   ├── ChainTooDeep         more than eight links
│   ├── AttenuationViolation less is granted than is needed or passed on
│   ├── ResourceMismatch     a link is about another space
│   ├── RootMismatch         the chain does not begin at the space's root key
│   ├── IdentityMismatch     a link was given to somebody else
│   └── UcanRevoked          a link is revoked in this space
├── SessionError
│   └── InvalidSession, SessionExpired, InvalidKeyLength, InvalidPermission
├── SignatureError           a request between servers is not signed as it must be
│   └── MissingSignatureInput, MissingSignature, InvalidSignatureInput, UnsupportedAlgorithm,
│       SignatureExpired, MissingRequiredComponent, InvalidSignatureHeader, KeyLookupFailed,
│       VerificationFailed
├── InvalidKeyId             a key id that names no peer
├── UntrustedPeer            a valid signature of a server that is not trusted
└── FstError
    └── InvalidFst, ExpiredFst

`str(error)` is its class's own text, so it can be logged: it never holds a token, a key or any part of them.
"""

from enum import StrEnum
from typing import ClassVar


class AuthError(Exception):
    """Root of this room's errors; the text is the class's own and holds no input."""

    text: ClassVar[str] = "authentication failed"

    def __str__(self) -> str:
        return self.text


class MalformedText(AuthError):
    """A decoder's refusal. Each verifier turns it into its own kind."""

    text = "malformed text"


class TokenCheck(StrEnum):
    """What an access token was refused for: words for a log, which hold nothing of the token.

    Clients are not told. The order is that of docs/tokens.md 3.2.
    """

    PRESENT = "no token"
    LENGTH = "too long"
    SEGMENTS = "not three segments"
    HEADER = "unreadable header"
    ALGORITHM = "algorithm not allowed"
    EXTENSION = "critical extension"
    TYPE = "typ is no text"
    KEY_ID = "kid is no text"
    PAYLOAD = "unreadable payload"
    ISSUER_TYPE = "iss is no text"
    ISSUER = "untrusted issuer"
    KIND = "typ of another kind of token"
    EVENTS = "an events claim: no access token"
    SIGNATURE_FORM = "malformed signature"
    KEY = "unknown kid"
    KEYS_UNAVAILABLE = "key set not available"
    KEY_ALGORITHM = "key of another algorithm"
    SIGNATURE = "bad signature"
    CLAIM_TYPE = "claim of the wrong type"
    NO_EXPIRY = "no exp"
    EXPIRED = "expired"
    NOT_YET = "not valid yet"
    AUDIENCE = "wrong audience"
    SUBJECT = "no sub or client_id"
    NUL = "NUL in sub or client id"
    PERSONAL_SPACE = "personal space of somebody else"
    SCOPE = "missing scope"
    PROOF_LENGTH = "did proof too long"
    PROOF_FORM = "unreadable did proof"
    PROOF_ALGORITHM = "algorithm of did proof is not ES256"
    PROOF_TYPE = "typ of did proof is another"
    PROOF_EXTENSION = "critical extension in did proof"
    PROOF_TOKEN = "did proof for another token"
    PROOF_KEY = "did proof of no P-256 did:key"
    PROOF_SIGNATURE = "bad signature of did proof"
    PROOF_EXPIRED = "expired did proof"


class TokenError(AuthError):
    """Root of what an access token is refused with."""

    check: TokenCheck


class MissingToken(TokenError):
    """No token at all."""

    text = "missing authorization token"
    check = TokenCheck.PRESENT


class InvalidToken(TokenError):
    """Wrong syntax, signature, claims or audience."""

    text = "invalid token"

    def __init__(self, check: TokenCheck) -> None:
        super().__init__()
        self.check = check


class KeysUnavailable(InvalidToken):
    """Keys could not be fetched and none are cached: HTTP 503, WebSocket close 1013, never 4000."""

    def __init__(self) -> None:
        super().__init__(TokenCheck.KEYS_UNAVAILABLE)


class ExpiredToken(TokenError):
    """`exp` has passed."""

    text = "token has expired"
    check = TokenCheck.EXPIRED


class UntrustedIssuer(TokenError):
    """`iss` is absent or not configured."""

    text = "untrusted token issuer"
    check = TokenCheck.ISSUER


class DiscoveryRefused(AuthError):
    """An issuer's discovery document can be read, and what it says is not accepted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        """Words of ours, none of the document's."""

    def __str__(self) -> str:
        return self.reason


class DidKeyError(AuthError):
    """Root of what `decode_did_key` raises; `detail` completes the text."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    def __str__(self) -> str:
        return f"invalid did:key: {self.detail}"


class MissingPrefix(DidKeyError):
    """Not `did:key:z` and something after it."""

    def __init__(self) -> None:
        super().__init__("missing did:key:z prefix")


class InputTooLong(DidKeyError):
    """The base58 part is longer than 256 bytes."""

    def __init__(self, length_bytes: int) -> None:
        super().__init__(f"base58 input too long: {length_bytes}")


class Base58Decode(DidKeyError):
    """A character outside the Bitcoin alphabet."""

    def __init__(self) -> None:
        super().__init__("base58 decode failed")


class InvalidVarint(DidKeyError):
    """`fault` is "too long" or "truncated"."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"varint decode failed: {fault}")


class WrongMulticodec(DidKeyError):
    """A key of another kind."""

    def __init__(self, code: int) -> None:
        super().__init__(f"expected P-256 multicodec 0x1200, got 0x{code:x}")


class WrongPointLength(DidKeyError):
    """Not the 33 bytes of a compressed point."""

    def __init__(self, length_bytes: int) -> None:
        super().__init__(f"expected 33-byte compressed point, got {length_bytes}")


class InvalidPoint(DidKeyError):
    """33 bytes that are no point of the curve in compressed form."""

    def __init__(self) -> None:
        super().__init__("point not on P-256 curve")


class UnknownPermission(AuthError):
    """`what` is a command or a value; shown, as neither is secret, but at most 64 characters of it."""

    def __init__(self, what: str | int) -> None:
        super().__init__()
        self.what = what

    def __str__(self) -> str:
        if isinstance(self.what, int):
            return f"unknown permission value {self.what}"
        return f'unknown command "{self.what[:64]}"'


class UcanError(AuthError):
    """Root of what a chain can be refused for. None of the texts reaches the wire.

    `depth` is the link, 0 being the token presented; `reason` says in fixed words what was wrong with it.
    """

    text = "UCAN refused"

    def __init__(self, reason: str = "", *, depth: int = 0) -> None:
        super().__init__()
        self.reason = reason
        self.depth = depth


class InvalidUcan(UcanError):
    """Wrong syntax, signature, claims, times or number of proofs."""

    text = "invalid UCAN"


class UcanExpired(UcanError):
    """`exp` of a link has passed."""

    text = "UCAN expired"


class ChainTooDeep(UcanError):
    """More than eight links."""

    text = "UCAN chain too deep"


class AttenuationViolation(UcanError):
    """Less is granted than is needed or passed on."""

    text = "UCAN attenuation violation"


class ResourceMismatch(UcanError):
    """A link is about another space."""

    text = "UCAN resource mismatch"


class RootMismatch(UcanError):
    """The chain does not begin at the space's root key."""

    text = "UCAN root key mismatch"


class IdentityMismatch(UcanError):
    """A link was given to somebody else."""

    text = "UCAN identity mismatch"


class UcanRevoked(UcanError):
    """A link, or its twin, is revoked in this space."""

    text = "UCAN revoked"


class SessionError(AuthError):
    """Root of what a session token can be refused for."""

    text = "invalid session token"


class InvalidSession(SessionError):
    """Wrong length, version, MAC or space."""


class SessionExpired(SessionError):
    """The expiry has passed."""

    text = "session token expired"


class InvalidKeyLength(SessionError):
    """The key a server was given, not a token, is wrong."""

    def __init__(self, length_bytes: int) -> None:
        super().__init__()
        self.length_bytes = length_bytes

    def __str__(self) -> str:
        return f"session HMAC key must be 32 bytes, got {self.length_bytes}"


class InvalidPermission(SessionError):
    """Rightly signed, for a permission there is not."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def __str__(self) -> str:
        return f"invalid session permission: unknown permission value {self.value}"


class SignatureError(AuthError):
    """Root of what a signed request can be refused for: HTTP 401."""

    text = "signature verification failed"


class MissingSignatureInput(SignatureError):
    """No readable `Signature-Input`."""

    text = "missing Signature-Input header"


class MissingSignature(SignatureError):
    """No readable `Signature`."""

    text = "missing Signature header"


class InvalidSignatureInput(SignatureError):
    """`detail` says what was expected."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.detail = detail

    def __str__(self) -> str:
        return f"invalid Signature-Input: {self.detail}"


class UnsupportedAlgorithm(SignatureError):
    """`alg` is not `ed25519`."""

    def __init__(self, algorithm: str) -> None:
        super().__init__()
        self.algorithm = algorithm

    def __str__(self) -> str:
        return f"unsupported algorithm: {self.algorithm[:64]}"


class SignatureExpired(SignatureError):
    """`created` is too far from now."""

    text = "signature expired"


class MissingRequiredComponent(SignatureError):
    """Method, target or host is not signed."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __str__(self) -> str:
        return f'required component "{self.name}" not covered'


class InvalidSignatureHeader(SignatureError):
    """`detail` says what was expected."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.detail = detail

    def __str__(self) -> str:
        return f"invalid Signature header: {self.detail}"


class KeyLookupFailed(SignatureError):
    """`keyid` is not known."""

    text = "key lookup failed: unknown key id"


class VerificationFailed(SignatureError):
    """No text the request may stand for was signed with this key."""


class InvalidKeyId(AuthError):
    """HTTP 400."""

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.detail = detail

    def __str__(self) -> str:
        return f"invalid keyid: {self.detail}"


class UntrustedPeer(AuthError):
    """HTTP 403."""

    text = "untrusted peer"


class FstError(AuthError):
    """Root of what a federation subscribe token can be refused for."""

    text = "invalid federation subscribe token"


class InvalidFst(FstError):
    """Malformed, forged, or for another peer."""


class ExpiredFst(FstError):
    """The expiry has passed."""

    text = "federation subscribe token expired"
