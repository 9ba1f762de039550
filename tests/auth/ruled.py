"""Issuers of `ISSUERS_FILE`: keys and tokens of every algorithm."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from less_sync.auth import Issuer, IssuerKey, TrustedIssuers, b64url_encode, parse_jwk
from tests.auth.minting import NOW

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
URL = "https://login.example.com/realms/apps"


@cache
def private_key(kind: str, number: int = 1) -> PrivateKey:
    """A key of a kind, made once: RSA keys take their time. `number` tells several apart."""
    match kind:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def signature(algorithm: str, key: PrivateKey, message: bytes) -> bytes:
    """As JWS has it. The key need not be one of the algorithm's own curve or padding."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(SHA256()), salt_length=32)
        return key.sign(message, pss if algorithm == "PS256" else padding.PKCS1v15(), SHA256())
    half = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA384() if algorithm == "ES384" else SHA256())))
    return r.to_bytes(half, "big") + s.to_bytes(half, "big")


def jwk_of(key: PrivateKey) -> dict[str, Any]:
    """The members of an entry that name the key."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(key.public_key().public_bytes_raw())}
    if isinstance(key, rsa.RSAPrivateKey):
        return rsa_jwk(key.public_key().public_numbers().n)
    numbers, half = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
    return {
        "kty": "EC",
        "crv": f"P-{key.curve.key_size}",
        "x": b64url_encode(numbers.x.to_bytes(half, "big")),
        "y": b64url_encode(numbers.y.to_bytes(half, "big")),
    }


def rsa_jwk(n: int, e: int = 65537) -> dict[str, Any]:
    """The members of an entry with these numbers."""
    n_bytes, e_bytes = (n.bit_length() + 7) // 8, (e.bit_length() + 7) // 8
    return {
        "kty": "RSA",
        "n": b64url_encode(n.to_bytes(n_bytes, "big")),
        "e": b64url_encode(e.to_bytes(e_bytes, "big")),
    }


class RuledIssuer:
    """An issuer that signs with one algorithm; `rules` replace what its table would say."""

    def __init__(self, algorithm: str = "RS256", *, url: str = URL, kid: str = "1", **rules: Any) -> None:
        self.algorithm = algorithm
        self.url = url
        self.kid = kid
        self.key = private_key(algorithm)
        keys = {"keys_url": f"{url}/keys", "algorithms": frozenset({algorithm})}
        self.rules = Issuer(name="apps", url=url, **keys | rules)

    @property
    def trusted(self) -> TrustedIssuers:
        """This issuer and no other."""
        return TrustedIssuers.of((), [self.rules])

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The published entry; `members` replace or add."""
        return jwk_of(self.key) | {"kid": self.kid, "use": "sig", "alg": self.algorithm} | members

    def jwks(self, **members: Any) -> bytes:
        """The document it publishes."""
        return json.dumps({"keys": [self.jwk(**members)]}).encode()

    def public(self) -> IssuerKey:
        """Its key as the server has read it."""
        parsed = parse_jwk(self.jwk(), self.rules.algorithms)
        assert parsed is not None
        return parsed[1]

    def claims(self, **members: Any) -> dict[str, Any]:
        """Claims of a valid token at `NOW`."""
        return {
            "iss": self.url,
            "sub": "user-1",
            "client_id": "client-1",
            "azp": "app-1",
            "aud": "less-sync",
            "exp": NOW + 900,
            "scope": "openid sync files",
        } | members

    def mint(self, *, header: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token; `header` adds to the header, `claims` replace or add."""
        head = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid} | dict(header or {})
        return self.sign(head, self.claims(**claims))

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """A token of just these members."""
        parts = (b64url_encode(json.dumps(part).encode()) for part in (header, claims))
        text = ".".join(parts)
        return f"{text}.{b64url_encode(signature(self.algorithm, self.key, text.encode()))}"
