"""Proofs of a DID: what passes, and the check that each other one fails (docs/tokens.md 11.2)."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import (
    DID_PROOF_CHARS_MAX,
    InvalidToken,
    TokenCheck,
    b64url_decode,
    b64url_encode,
    encode_did_key,
    make_did_proof,
    verify_did_proof,
)
from less_sync.auth.es256 import Es256Signature
from tests.auth.minting import NOW, jws, without

KEY = ec.generate_private_key(ec.SECP256R1())
DID = encode_did_key(KEY.public_key())
TOKEN = "header.payload.signature"
HEADER: dict[str, Any] = {"alg": "ES256", "typ": "less-sync-did-proof"}
CLAIMS: dict[str, Any] = {"iss": DID, "ath": b64url_encode(sha256(TOKEN.encode()).digest()), "exp": NOW}


def proof(
    header: dict[str, Any] = HEADER, claims: dict[str, Any] = CLAIMS, key: ec.EllipticCurvePrivateKey = KEY
) -> str:
    return jws(key, json.dumps(header).encode(), json.dumps(claims).encode())


def check_of(text: str, *, token: str = TOKEN, now: float = NOW) -> TokenCheck:
    with pytest.raises(InvalidToken) as caught:
        verify_did_proof(text, token, now)
    return caught.value.check


@pytest.mark.parametrize(
    "made",
    [
        lambda: make_did_proof(KEY, TOKEN, NOW),
        proof,
        lambda: proof(header=HEADER | {"kid": "1", "jwk": {}}, claims=CLAIMS | {"more": [1]}),
    ],
    ids=["made here", "by hand", "with more members"],
)
def test_a_proof_names_the_did_of_its_key(made: Callable[[], str]) -> None:
    assert verify_did_proof(made(), TOKEN, NOW) == DID


def test_a_proof_is_made_as_the_documentation_has_it() -> None:
    header, payload, signature = make_did_proof(KEY, TOKEN, NOW).split(".")
    assert b64url_decode(header) == b'{"alg":"ES256","typ":"less-sync-did-proof"}'
    assert json.loads(b64url_decode(payload)) == CLAIMS
    assert list(json.loads(b64url_decode(payload))) == ["iss", "ath", "exp"]
    assert len(b64url_decode(signature)) == 64


def test_both_forms_of_a_signature_are_fine() -> None:
    text = proof()
    body, _, signature = text.rpartition(".")
    twin = f"{body}.{Es256Signature.parse(signature).twin_segment()}"
    assert twin != text
    assert verify_did_proof(twin, TOKEN, NOW) == verify_did_proof(text, TOKEN, NOW) == DID


def test_a_proof_is_good_through_the_whole_second_of_its_expiry_and_not_after_it() -> None:
    text = proof()
    assert verify_did_proof(text, TOKEN, NOW + 0.999) == DID
    # What was found good before is judged by the clock again.
    assert check_of(text, now=NOW + 1) is TokenCheck.PROOF_EXPIRED


def test_a_proof_is_good_beside_its_own_token_only() -> None:
    text = proof()
    assert verify_did_proof(text, TOKEN, NOW) == DID
    assert check_of(text, token=TOKEN + "x") is TokenCheck.PROOF_TOKEN
    assert check_of(text, token="") is TokenCheck.PROOF_TOKEN


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("x" * (DID_PROOF_CHARS_MAX + 1), TokenCheck.PROOF_LENGTH),
        ("x" * DID_PROOF_CHARS_MAX, TokenCheck.PROOF_FORM),
        ("x", TokenCheck.PROOF_FORM),
        (proof() + ".", TokenCheck.PROOF_FORM),
        (proof().replace(".", ". ", 1), TokenCheck.PROOF_FORM),
        ("\xe9" + proof(), TokenCheck.PROOF_FORM),
        (proof() + "=", TokenCheck.PROOF_FORM),
        (jws(KEY, b"[]", json.dumps(CLAIMS).encode()), TokenCheck.PROOF_FORM),
        (jws(KEY, json.dumps(HEADER).encode(), b"[]"), TokenCheck.PROOF_FORM),
        (proof().rpartition(".")[0] + ".AAAA", TokenCheck.PROOF_FORM),
        (proof().rpartition(".")[0] + "." + b64url_encode(bytes(64)), TokenCheck.PROOF_FORM),
        (proof(claims=CLAIMS | {"iss": 1}), TokenCheck.PROOF_FORM),
        (proof(claims=CLAIMS | {"ath": None}), TokenCheck.PROOF_FORM),
        (proof(claims=CLAIMS | {"exp": float(NOW)}), TokenCheck.PROOF_FORM),
        (proof(claims=CLAIMS | {"exp": None}), TokenCheck.PROOF_FORM),
        (proof(claims=without(CLAIMS, "exp")), TokenCheck.PROOF_FORM),
        (proof(header=HEADER | {"alg": "none"}), TokenCheck.PROOF_ALGORITHM),
        (proof(header=HEADER | {"alg": "RS256"}), TokenCheck.PROOF_ALGORITHM),
        (proof(header=without(HEADER, "alg")), TokenCheck.PROOF_ALGORITHM),
        (proof(header=HEADER | {"typ": "JWT"}), TokenCheck.PROOF_TYPE),
        (proof(header=HEADER | {"typ": "LESS-SYNC-DID-PROOF"}), TokenCheck.PROOF_TYPE),
        (proof(header=without(HEADER, "typ")), TokenCheck.PROOF_TYPE),
        (proof(header=HEADER | {"crit": []}), TokenCheck.PROOF_EXTENSION),
        (proof(claims=CLAIMS | {"ath": CLAIMS["ath"] + "="}), TokenCheck.PROOF_TOKEN),
        (proof(claims=CLAIMS | {"ath": sha256(TOKEN.encode()).hexdigest()}), TokenCheck.PROOF_TOKEN),
        (proof(claims=without(CLAIMS, "ath")), TokenCheck.PROOF_TOKEN),
        (proof(claims=without(CLAIMS, "iss")), TokenCheck.PROOF_KEY),
        (proof(claims=CLAIMS | {"iss": "did:web:example.com"}), TokenCheck.PROOF_KEY),
        # An Ed25519 key, as the did:key method's own examples have it.
        (
            proof(claims=CLAIMS | {"iss": "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"}),
            TokenCheck.PROOF_KEY,
        ),
        (proof(key=ec.generate_private_key(ec.SECP256R1())), TokenCheck.PROOF_SIGNATURE),
    ],
)
def test_each_other_text_fails_the_check_it_should(text: str, check: TokenCheck) -> None:
    assert check_of(text) is check


def test_a_proof_over_the_payload_of_another_is_refused() -> None:
    header, _, signature = proof().split(".")
    _, payload, _ = proof(claims=CLAIMS | {"exp": NOW + 1}).split(".")
    assert check_of(f"{header}.{payload}.{signature}") is TokenCheck.PROOF_SIGNATURE
