"""Making tokens, well-formed and otherwise."""

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from less_sync.auth import Keys, b64url_decode, b64url_encode, encode_did_key
from less_sync.auth.es256 import P256_ORDER

NOW = 1_767_225_600
"""2026-01-01T00:00:00Z, the base time of the shared vectors."""


def sign(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """r and s, 64 bytes, by RFC 6979: the same for the same input."""
    der = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def jws(key: ec.EllipticCurvePrivateKey, header: bytes, payload: bytes) -> str:
    """A compact JWS over exactly these bytes."""
    signing_input = f"{b64url_encode(header)}.{b64url_encode(payload)}"
    return f"{signing_input}.{b64url_encode(sign(key, signing_input.encode()))}"


def without(members: Mapping[str, Any], *dropped: str) -> dict[str, Any]:
    """The members but those dropped."""
    return {name: value for name, value in members.items() if name not in dropped}


class Issuer:
    """An issuer with one key."""

    def __init__(self, url: str = "https://issuer.example.com", *, kid: str = "1") -> None:
        self.url = url
        self.kid = kid
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def keys(self) -> Keys:
        """Its key set, parsed."""
        return {self.kid: self.key.public_key()}

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The published entry; `members` replace or add."""
        numbers = self.key.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": b64url_encode(numbers.x.to_bytes(32, "big")),
            "y": b64url_encode(numbers.y.to_bytes(32, "big")),
            "use": "sig",
            "kid": self.kid,
            "alg": "ES256",
        } | members

    def jwks(self) -> bytes:
        """The document it publishes."""
        return json.dumps({"keys": [self.jwk()]}).encode()

    def header(self, **members: Any) -> dict[str, Any]:
        """The header of its tokens."""
        return {"typ": "JWT", "alg": "ES256", "kid": self.kid} | members

    def claims(self, **members: Any) -> dict[str, Any]:
        """Claims of a valid token at `NOW`."""
        return {
            "iss": self.url,
            "sub": "user-1",
            "client_id": "client-1",
            "aud": ["client-1", "less-sync"],
            "exp": NOW + 900,
            "scope": "sync files",
        } | members

    def mint(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token; `header` replaces the whole header, `claims` single claims."""
        return self.mint_exactly(self.header() if header is None else header, self.claims(**claims))

    def mint_exactly(self, header: Mapping[str, Any], claims: object) -> str:
        """A token of just these members, validly signed."""
        return jws(self.key, json.dumps(header).encode(), json.dumps(claims).encode())


def compressed(key: ec.EllipticCurvePublicKey) -> bytes:
    """33 bytes: what a space stores as its root key."""
    return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


class Person:
    """Somebody with a DID, who makes UCANs as the existing client does."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.did = encode_did_key(self.key.public_key())
        self.compressed = compressed(self.key.public_key())

    def claims(self, to: "Person", space: UUID, **members: Any) -> dict[str, Any]:
        """Claims of a root token for write, valid at `NOW`; `members` replace or add."""
        return {
            "aud": [to.did],
            "cmd": "/space/write",
            "exp": NOW + 3600,
            "iss": self.did,
            "nonce": "bm9uY2Utbm9uY2UtMTIz",
            "prf": [],
            "with": f"space:{space}",
        } | members

    def grant(self, to: "Person", space: UUID, **members: Any) -> str:
        """A token; `prf` may be given as the text of the one proof."""
        if isinstance(members.get("prf"), str):
            members["prf"] = [members["prf"]]
        return self.sign(self.claims(to, space, **members))

    def sign(self, claims: object, *, header: Mapping[str, Any] | None = None) -> str:
        """A token of just these claims."""
        head = {"alg": "ES256", "typ": "JWT"} if header is None else header
        return jws(self.key, _compact(head), _compact(claims))


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def chain_of(people: list[Person], space: UUID, *commands: str) -> list[str]:
    """Tokens from the root's to the leaf: each of `people` grants to the next one."""
    tokens: list[str] = []
    for number, (giver, taker) in enumerate(pairwise(people)):
        command = commands[number] if commands else "/space/admin"
        tokens.append(giver.grant(taker, space, cmd=command, prf=tokens[-1:]))
    return tokens


def twin_of(token: str) -> str:
    """The other text of a token that verifies."""
    head, _, segment = token.rpartition(".")
    raw = b64url_decode(segment)
    s = P256_ORDER - int.from_bytes(raw[32:], "big")
    return f"{head}.{b64url_encode(raw[:32] + s.to_bytes(32, 'big'))}"
