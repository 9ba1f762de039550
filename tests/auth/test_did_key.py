"""did:key of P-256 keys (docs/tokens.md 5)."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from multiformats import multibase, multicodec, varint

from less_sync.auth import DidKeyError, InvalidPoint, InvalidVarint, decode_did_key, encode_did_key
from less_sync.auth import errors as auth_errors
from less_sync.auth.did_key import DID_CHARS_MAX
from tests.auth.minting import compressed
from tests.auth.vectors import auth_vectors, names

DID_KEY = auth_vectors()["did_key"]
P256 = auth_vectors()["keys"]["p256"]
FIELD_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


def did_of(data: bytes) -> str:
    """A `did:key` of any bytes, by the library that others use."""
    return "did:key:" + multibase.encode(data, "base58btc")


def p256_did_of(point: bytes) -> str:
    return did_of(varint.encode(0x1200) + point)


@pytest.mark.parametrize("case", DID_KEY["decode_p256"], ids=names(DID_KEY["decode_p256"]))
def test_did_of_the_vectors_decodes_as_stated(case: dict[str, Any]) -> None:
    expected = case["expect"]
    if "error" not in expected:
        decoded = decode_did_key(case["did"])
        assert decoded.compressed.hex() == expected["public_compressed_hex"]
        assert encode_did_key(decoded.key) == case["did"]
        return
    with pytest.raises(DidKeyError) as caught:
        decode_did_key(case["did"])
    kind = expected["error"]
    assert type(caught.value) is getattr(auth_errors, kind)
    # The vectors' texts leave out what depends on the input.
    assert str(caught.value).startswith(DID_KEY["errors"][kind].partition("{")[0])


@pytest.mark.parametrize("case", DID_KEY["encode_p256"], ids=names(DID_KEY["encode_p256"]))
def test_key_of_the_vectors_encodes_as_stated(case: dict[str, Any]) -> None:
    point = bytes.fromhex(case["public_uncompressed_hex"])
    assert encode_did_key(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)) == case["did"]


@pytest.mark.parametrize("case", DID_KEY["published_ed25519"], ids=names(DID_KEY["published_ed25519"]))
def test_ed25519_key_is_another_multicodec(case: dict[str, Any]) -> None:
    assert did_of(b"\xed\x01" + bytes.fromhex(case["public_hex"])) == case["did"]
    with pytest.raises(auth_errors.WrongMulticodec) as caught:
        decode_did_key(case["did"])
    assert str(caught.value) == "invalid did:key: expected P-256 multicodec 0x1200, got 0xed"


@pytest.mark.parametrize("name", P256)
def test_every_key_of_the_vectors_round_trips(name: str) -> None:
    decoded = decode_did_key(P256[name]["did"])
    assert decoded.compressed.hex() == P256[name]["public_compressed_hex"]
    assert encode_did_key(decoded.key) == P256[name]["did"]


def test_random_key_survives_and_its_point_is_compressed() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    decoded = decode_did_key(encode_did_key(key))
    assert decoded.key == key
    assert len(decoded.compressed) == 33
    assert decoded.compressed[0] in (2, 3)


@given(st.integers(1, 2**255))
def test_library_of_others_reads_the_same_key(scalar: int) -> None:
    key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    did = encode_did_key(key)
    codec, point = multicodec.unwrap(multibase.decode(did.removeprefix("did:key:")))
    assert (codec.name, point) == ("p256-pub", compressed(key))
    assert decode_did_key(did).compressed == point


@pytest.mark.parametrize(
    "prefix", [b"", b"\x00", b"\x01", b"\x04", b"\x05", b"\x06", b"\x07", b"\x82", b"\xff"]
)
def test_point_in_another_form_is_invalid(prefix: bytes) -> None:
    x = bytes.fromhex(P256["owner"]["public_compressed_hex"])[1:]
    with pytest.raises(InvalidPoint if prefix else auth_errors.WrongPointLength):
        decode_did_key(p256_did_of(prefix + x))


@pytest.mark.parametrize("x", [FIELD_PRIME, FIELD_PRIME + 1, 2**256 - 1, 1], ids=hex)
@pytest.mark.parametrize("sign", [b"\x02", b"\x03"])
def test_x_off_the_curve_or_beyond_the_field_is_invalid(x: int, sign: bytes) -> None:
    with pytest.raises(InvalidPoint):
        decode_did_key(p256_did_of(sign + x.to_bytes(32, "big")))


def test_point_at_infinity_and_zero_are_no_keys() -> None:
    with pytest.raises(auth_errors.WrongPointLength):
        decode_did_key(p256_did_of(b"\x00"))
    with pytest.raises(InvalidPoint):
        decode_did_key(p256_did_of(bytes(33)))


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x80", "truncated"),
        (b"\xff" * 9, "truncated"),
        (b"\xff" * 10, "too long"),
        (b"\xff" * 11, "too long"),
        (b"\x80\xa4\x00" + bytes(33), "too long"),
        (b"\x81\x00", "too long"),
    ],
)
def test_varint_that_does_not_end_or_is_not_minimal_is_invalid(data: bytes, fault: str) -> None:
    with pytest.raises(InvalidVarint) as caught:
        decode_did_key(did_of(data))
    assert str(caught.value) == f"invalid did:key: varint decode failed: {fault}"


@pytest.mark.parametrize("code", [0, 1, 0xE7, 0xED, 0x1201, 0x120000, 2**63 - 1])
def test_other_multicodec_is_named(code: int) -> None:
    with pytest.raises(auth_errors.WrongMulticodec) as caught:
        decode_did_key(did_of(varint.encode(code) + bytes(33)))
    assert str(caught.value).endswith(f"got 0x{code:x}")


def test_length_is_counted_in_bytes() -> None:
    with pytest.raises(auth_errors.InputTooLong) as caught:
        decode_did_key("did:key:z" + "\u00e9" * 129)
    assert str(caught.value) == "invalid did:key: base58 input too long: 258"
    with pytest.raises(auth_errors.Base58Decode):
        decode_did_key("did:key:z" + "\u00e9" * (DID_CHARS_MAX // 2))


@given(st.binary(min_size=1, max_size=60))
def test_base58_agrees_with_the_library(data: bytes) -> None:
    did = did_of(data)
    try:
        decoded = decode_did_key(did)
    except DidKeyError:
        return
    assert data == b"\x80\x24" + decoded.compressed


@given(st.text(max_size=40).map("did:key:z".__add__) | st.text(max_size=40))
def test_no_text_raises_anything_but_did_key_errors(text: str) -> None:
    with pytest.raises(DidKeyError):
        decode_did_key(text)


def test_decoded_key_does_not_show_itself() -> None:
    assert repr(decode_did_key(P256["owner"]["did"])) == "DidKey()"
