"""Published vectors and hostile edge cases of the two signature schemes."""

from base64 import b64decode, b64encode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from less_sync.auth import (
    MalformedText,
    SignedRequest,
    VerificationFailed,
    b64url_decode,
    b64url_encode,
    parse_jwk,
    verify_request,
)
from less_sync.auth.es256 import P256_ORDER, Es256Signature
from tests.auth.minting import NOW, sign
from tests.auth.vectors import auth_vectors

PUBLISHED = auth_vectors()["published"]
KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
MESSAGE = b"the message"
GOOD = sign(KEY, MESSAGE)
R, S = int.from_bytes(GOOD[:32], "big"), int.from_bytes(GOOD[32:], "big")
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def segment(r: int, s: int) -> str:
    return b64url_encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


@pytest.mark.parametrize("case", PUBLISHED["rfc8032_ed25519"], ids=lambda case: case["message_hex"])
def test_ed25519_of_rfc_8032(case: dict[str, str]) -> None:
    key = SigningKey(bytes.fromhex(case["seed_hex"]))
    message = bytes.fromhex(case["message_hex"])
    assert bytes(key.verify_key).hex() == case["public_hex"]
    assert key.sign(message).signature.hex() == case["signature_hex"]


@pytest.mark.parametrize("case", PUBLISHED["rfc6979_p256_sha256"], ids=lambda case: case["message"])
def test_ecdsa_of_rfc_6979(case: dict[str, str]) -> None:
    key = ec.derive_private_key(int(case["private_scalar_hex"], 16), ec.SECP256R1())
    raw = sign(key, case["message"].encode())
    assert raw.hex() == case["r_hex"] + case["s_hex"]
    assert Es256Signature.parse(b64url_encode(raw)).verifies(key.public_key(), case["message"].encode())


@pytest.mark.parametrize("case", PUBLISHED["rfc7515_a3_es256"], ids=lambda _: "A.3")
def test_jws_of_rfc_7515(case: dict[str, Any]) -> None:
    key = parse_jwk(case["jwk"] | {"kid": "k"})
    assert key is not None
    head, _, text = case["jws"].rpartition(".")
    signature = Es256Signature.parse(text)
    assert signature.verifies(key[1], head.encode())
    assert Es256Signature.parse(signature.twin_segment()).verifies(key[1], head.encode())
    assert not signature.verifies(key[1], head.encode() + b"x")


@pytest.mark.parametrize("case", PUBLISHED["rfc9421_b26_ed25519"], ids=lambda _: "B.2.6")
def test_signature_base_of_rfc_9421(case: dict[str, str]) -> None:
    key = SigningKey(b64decode(case["seed_base64"]))
    assert b64encode(bytes(key.verify_key)).decode() == case["public_base64"]
    signature = b64decode(case["signature_base64"])
    assert key.sign(case["signature_base"].encode()).signature == signature
    assert key.verify_key.verify(case["signature_base"].encode(), signature)


def test_both_halves_of_s_verify() -> None:
    low, high = sorted((S, P256_ORDER - S))
    for s in (low, high):
        assert Es256Signature.parse(segment(R, s)).verifies(KEY.public_key(), MESSAGE)


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (0, 0),
        (0, S),
        (R, 0),
        (P256_ORDER, S),
        (R, P256_ORDER),
        (P256_ORDER + 1, S),
        (2**256 - 1, 2**256 - 1),
        (R, 2**256 - 1),
    ],
)
def test_numbers_of_a_signature_are_1_to_n_minus_1(r: int, s: int) -> None:
    with pytest.raises(MalformedText):
        Es256Signature.parse(segment(r, s))


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (1, 1),
        (1, P256_ORDER - 1),
        (P256_ORDER - 1, 1),
        (P256_ORDER - 1, P256_ORDER - 1),
        (S, R),
        (R, R),
        (P256_ORDER - R, S),
        (R, S ^ 1),
        (1, 2),
    ],
)
def test_made_up_numbers_verify_for_no_message(r: int, s: int) -> None:
    signature = Es256Signature.parse(segment(r, s))
    for message in (MESSAGE, b"", bytes(32), bytes(64)):
        assert not signature.verifies(KEY.public_key(), message)


@pytest.mark.parametrize(
    "curve", [ec.SECP256K1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
def test_key_of_another_curve_is_no_key_here(curve: ec.EllipticCurve) -> None:
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    size = (curve.key_size + 7) // 8
    entry = {"kty": "EC", "kid": "k", "alg": "ES256", "use": "sig"}
    entry |= {
        name: b64url_encode(n.to_bytes(size, "big")) for name, n in (("x", numbers.x), ("y", numbers.y))
    }
    assert parse_jwk(entry | {"crv": curve.name}) is None
    assert parse_jwk(entry | {"crv": "P-256"}) is None


def test_signature_over_another_hash_does_not_verify() -> None:
    r, s = decode_dss_signature(KEY.sign(MESSAGE, ec.ECDSA(SHA384())))
    assert not Es256Signature.parse(segment(r, s)).verifies(KEY.public_key(), MESSAGE)


LOW_ORDER_POINTS = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
]
"""Keys under which anybody could sign anything, if they were let through."""


@pytest.mark.parametrize("point", LOW_ORDER_POINTS)
def test_low_order_key_verifies_nothing(point: str) -> None:
    identity_r = bytes.fromhex(LOW_ORDER_POINTS[1])
    forged = b64encode(identity_r + bytes(32)).decode()
    parameters = f'("@method" "@target-uri" "host");keyid="k";alg="ed25519";created={NOW}'
    lines = [("Host", "a"), ("Signature-Input", f"sig={parameters}"), ("Signature", f"sig=:{forged}:")]
    request = SignedRequest.of(method="GET", target="/", headers=lines)
    with pytest.raises(VerificationFailed):
        verify_request(request, key_of=lambda _: bytes.fromhex(point), now=NOW)


def test_ed25519_signature_with_s_beyond_the_order_is_refused() -> None:
    key = SigningKey(bytes(range(32)))
    signature = key.sign(MESSAGE).signature
    s = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    malleable = signature[:32] + s.to_bytes(32, "little")
    assert VerifyKey(bytes(key.verify_key)).verify(MESSAGE, signature)
    with pytest.raises(BadSignatureError):
        VerifyKey(bytes(key.verify_key)).verify(MESSAGE, malleable)


def test_ed25519_flip_of_any_bit_is_refused() -> None:
    key = SigningKey(bytes(range(32)))
    signature = key.sign(MESSAGE).signature
    for bit in range(512):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BadSignatureError):
            key.verify_key.verify(MESSAGE, bytes(flipped))


def test_es256_flip_of_any_bit_is_refused() -> None:
    for bit in range(512):
        flipped = bytearray(GOOD)
        flipped[bit // 8] ^= 1 << bit % 8
        signature = Es256Signature.parse(b64url_encode(bytes(flipped)))
        assert not signature.verifies(KEY.public_key(), MESSAGE)


def test_segment_must_have_64_bytes() -> None:
    for raw in (b"", GOOD[:63], GOOD + b"\0", GOOD * 2):
        with pytest.raises(MalformedText):
            Es256Signature.parse(b64url_encode(raw))
    assert b64url_decode(b64url_encode(GOOD)) == GOOD
