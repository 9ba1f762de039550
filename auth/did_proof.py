"""Proof of a DID: a device shows, for one access token, that it holds the key behind its DID.

Identity providers know nothing of the keys of devices, so where identities are derived the DID is not taken
from the token: it is proven beside it, by a compact JWS of that key over the token's hash
(docs/tokens.md 11). Nothing is stored; a proof says something about its own token alone.
"""

import json
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from less_sync.auth.did_key import decode_did_key, encode_did_key
from less_sync.auth.encoding import b64url_decode, b64url_encode, int_member, parse_json_object, text_member
from less_sync.auth.errors import DidKeyError, InvalidToken, MalformedText, TokenCheck
from less_sync.auth.es256 import Es256Signature, sign_es256

DID_PROOF_CHARS_MAX: Final = 4096
"""Longer proofs are refused unread; honest ones have about 350 characters."""

DID_PROOF_TYPE: Final = "less-sync-did-proof"
"""The `typ` that every proof has, so that nothing else a device signs passes for one (RFC 8725 3.11)."""

_HEADER: Final = b64url_encode(
    json.dumps({"alg": "ES256", "typ": DID_PROOF_TYPE}, separators=(",", ":")).encode()
)


def make_did_proof(key: EllipticCurvePrivateKey, token: str, exp: int) -> str:
    """Prove for one access token that the caller holds `key`, a P-256 key: what clients do.

    Args:
        exp: Unix seconds until which the proof is good. That of the token is enough: without it the proof
            is worth nothing.
    """
    claims = {"iss": encode_did_key(key.public_key()), "ath": _token_hash(token), "exp": exp}
    payload = b64url_encode(json.dumps(claims, separators=(",", ":")).encode())
    signing_input = f"{_HEADER}.{payload}"
    return f"{signing_input}.{sign_es256(key, signing_input)}"


def verify_did_proof(text: str, token: str, now: float) -> str:
    """Check a proof in the order of docs/tokens.md 11.2, and say whose DID it proves.

    Args:
        token: the access token that was presented beside it, verified.
        now: Unix seconds.

    Raises:
        InvalidToken: by which check, `check` says.
    """
    if len(text) > DID_PROOF_CHARS_MAX:
        raise InvalidToken(TokenCheck.PROOF_LENGTH)
    did, expires_at = _proven(text, _token_hash(token))
    if int(now) > expires_at:
        raise InvalidToken(TokenCheck.PROOF_EXPIRED)
    return did


# Each HTTP request of a device brings the same proof, and the signature is nearly all that one costs.
@lru_cache(maxsize=1024)
def _proven(text: str, token_hash: str) -> tuple[str, int]:
    """The DID that a proof for the token of this hash proves, and the proof's `exp`; whatever the time is.

    Raises:
        InvalidToken: it proves nothing.
    """
    if text.count(".") != 2:
        raise InvalidToken(TokenCheck.PROOF_FORM)
    header, payload, signature_segment = text.split(".")
    try:
        fault = _header_fault(parse_json_object(b64url_decode(header)))
        if fault is not None:
            raise InvalidToken(fault)
        claims = parse_json_object(b64url_decode(payload))
        did, hash_signed = text_member(claims, "iss"), text_member(claims, "ath")
        expires_at = int_member(claims, "exp")
        signature = Es256Signature.parse(signature_segment)
    except MalformedText:
        raise InvalidToken(TokenCheck.PROOF_FORM) from None
    if expires_at is None:
        raise InvalidToken(TokenCheck.PROOF_FORM)
    # A hash has one text (docs/tokens.md 1.1), and it is no secret: the texts are compared.
    if hash_signed != token_hash:
        raise InvalidToken(TokenCheck.PROOF_TOKEN)
    try:
        key = decode_did_key(did).key
    except DidKeyError:
        raise InvalidToken(TokenCheck.PROOF_KEY) from None
    if not signature.verifies(key, f"{header}.{payload}".encode("ascii")):
        raise InvalidToken(TokenCheck.PROOF_SIGNATURE)
    return did, expires_at


def _header_fault(header: dict[str, Any]) -> TokenCheck | None:
    """Why a header is not that of a proof: one algorithm, one type, no extension; or None."""
    if header.get("alg") != "ES256":
        return TokenCheck.PROOF_ALGORITHM
    if header.get("typ") != DID_PROOF_TYPE:
        return TokenCheck.PROOF_TYPE
    return TokenCheck.PROOF_EXTENSION if "crit" in header else None


def _token_hash(token: str) -> str:
    return b64url_encode(sha256(token.encode("utf-8", "surrogatepass")).digest())
