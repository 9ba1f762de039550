"""An independent implementation of RFC 9421 agrees, in both directions."""

import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import http_message_signatures
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, InvalidSignature, algorithms
from nacl.signing import SigningKey

from less_sync.auth import TARGET_SCHEMES, SignedRequest, b64url_decode, sign_request, verify_request
from tests.auth.minting import NOW
from tests.auth.vectors import auth_vectors, names

HTTP = auth_vectors()["http_signature"]
SEED = bytes(range(32))
KEY_ID = "https://peer.example.com/.well-known/jwks.json#fed-1"
HOST = "sync.example.com"
TIME_KINDS = {"SignatureExpired"}
OUR_OWN_RULES = {"InvalidSignatureInput", "InvalidSignatureHeader", "MissingRequiredComponent"}
"""Kinds where this profile asks for more than the RFC: labels, covered components, exact base64."""


@dataclass
class Message:
    """What the library takes for a request."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)


class Keys(http_message_signatures.HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey | None:
        if key_id == KEY_ID:
            return Ed25519PrivateKey.from_private_bytes(SEED).public_key()
        text = HTTP["keys_by_id"].get(key_id)
        return None if text is None else Ed25519PublicKey.from_public_bytes(b64url_decode(text))

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:
        assert key_id == KEY_ID
        return Ed25519PrivateKey.from_private_bytes(SEED)


class VectorKeys(Keys):
    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey | None:
        text = HTTP["keys_by_id"].get(key_id)
        return None if text is None else Ed25519PublicKey.from_public_bytes(b64url_decode(text))


def oracle_base(message: Message, keys: Keys) -> str | None:
    """The signature base the library verifies, or None when it refuses.

    It reads the real clock, so ages are not asked about.
    """
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=keys)
    try:
        results = verifier.verify(message, max_age=None)
    except InvalidSignature:
        return None
    return "\n".join(f"{name}: {value}" for name, value in results[0].covered_components.items())


@pytest.mark.parametrize("scheme", TARGET_SCHEMES)
@pytest.mark.parametrize("host", [HOST, f"{HOST}:5379", "[::1]:5379"])
def test_oracle_accepts_what_we_sign_over_the_same_base(scheme: str, host: str) -> None:
    url = f"{scheme}://{host}/api/v1/federation/ws?a=b"
    signed = sign_request(
        SigningKey(SEED), key_id=KEY_ID, created=NOW, method="GET", target_uri=url, host=host
    )
    headers = {"Host": host, "Signature-Input": signed.signature_input, "Signature": signed.signature}
    request = SignedRequest.of(method="GET", target="/api/v1/federation/ws?a=b", headers=headers.items())
    key = bytes(SigningKey(SEED).verify_key)
    ours = verify_request(request, key_of=lambda _: key, now=NOW)
    assert oracle_base(Message("GET", url, headers), Keys()) == ours.base


@pytest.mark.parametrize("further", [(), ("date",), ("x-list", "date")])
def test_we_accept_what_the_oracle_signs(further: tuple[str, ...]) -> None:
    headers = {"Host": HOST, "Date": "Thu, 01 Jan 2026 00:00:00 GMT", "X-List": "a, b"}
    message = Message("GET", f"wss://{HOST}/api/v1/federation/ws", headers)
    signer = HTTPMessageSigner(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
    signer.sign(
        message,
        key_id=KEY_ID,
        created=datetime.fromtimestamp(NOW, UTC),
        nonce="n-1",
        label="sig",
        covered_component_ids=("@method", "@target-uri", "host", *further),
    )
    request = SignedRequest.of(method="GET", target="/api/v1/federation/ws", headers=message.headers.items())
    key = bytes(SigningKey(SEED).verify_key)
    verified = verify_request(request, key_of=lambda _: key, now=NOW)
    assert verified.components == ("@method", "@target-uri", "host", *further)
    assert oracle_base(message, Keys()) == verified.base


@pytest.mark.parametrize("case", HTTP["verify"], ids=names(HTTP["verify"]))
def test_oracle_agrees_on_the_vectors(case: dict[str, Any]) -> None:
    request = case["request"]
    target = request["target"]
    host = request["headers"]["Host"]
    urls = [target] if "://" in target else [f"{scheme}://{host}{target}" for scheme in TARGET_SCHEMES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bases = [
            oracle_base(Message(request["method"], url, request["headers"]), VectorKeys()) for url in urls
        ]
    accepted = [base for base in bases if base is not None]
    if case["expect"] == "ok":
        assert accepted == [case["signature_base"]]
    elif case["expect"]["error"] not in TIME_KINDS | OUR_OWN_RULES:
        assert accepted == []
