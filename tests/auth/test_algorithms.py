"""Signatures of every algorithm, the keys they may be checked with, and confusion between them (RFC 8725)."""

import hmac
import json
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    ALGORITHMS,
    Identity,
    InvalidToken,
    MalformedText,
    TokenCheck,
    TokenError,
    TokenPolicy,
    TrustedIssuers,
    b64url_decode,
    b64url_encode,
    parse_jwk,
    parse_jwks,
    parse_token,
    verify_token,
)
from less_sync.auth.issuer_keys import RsaKey
from tests.auth.minting import NOW, Issuer, without
from tests.auth.ruled import RuledIssuer, jwk_of, private_key, rsa_jwk, signature
from tests.auth.test_tokens import JSON_VALUES

NAMES = sorted(ALGORITHMS)
EVERY = frozenset(NAMES)
PAIRS = [(one, other) for one in NAMES for other in NAMES if one != other]


def identify(token: str, issuer: RuledIssuer, document: bytes | None = None) -> Identity:
    """As a server that has read this key set, by default the issuer's."""
    unverified = parse_token(token, issuer.trusted)
    key = parse_jwks(issuer.jwks() if document is None else document, issuer.rules.algorithms).get(
        unverified.kid
    )
    if key is None:
        raise InvalidToken(TokenCheck.KEY)
    return verify_token(unverified, key, policy=TokenPolicy(), now=NOW)


def refusal(token: str, issuer: RuledIssuer, document: bytes | None = None) -> TokenCheck:
    with pytest.raises(TokenError) as caught:
        identify(token, issuer, document)
    return caught.value.check


def resigned(token: str, raw: bytes) -> str:
    """The token with another signature."""
    return f"{token.rpartition('.')[0]}.{b64url_encode(raw)}"


@pytest.mark.parametrize("name", NAMES)
def test_a_token_of_a_configured_algorithm_is_accepted(name: str) -> None:
    issuer = RuledIssuer(name)
    assert identify(issuer.mint(), issuer).user_id == "user-1"


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_bit_anywhere_is_refused(name: str) -> None:
    issuer = RuledIssuer(name)
    token = issuer.mint()
    raw = bytearray(b64url_decode(token.rpartition(".")[2]))
    for index in range(0, len(raw), 9):
        flipped = bytes(raw[:index]) + bytes([raw[index] ^ 1]) + bytes(raw[index + 1 :])
        assert refusal(resigned(token, flipped), issuer) in (TokenCheck.SIGNATURE, TokenCheck.SIGNATURE_FORM)
    head, payload, signed = token.split(".")
    other = b64url_encode(json.dumps(issuer.claims(sub="user-2")).encode())
    assert refusal(f"{head}.{other}.{signed}", issuer) is TokenCheck.SIGNATURE
    assert payload != other


@pytest.mark.parametrize("name", NAMES)
def test_a_signature_of_another_length_is_refused_before_a_key_is_looked_for(name: str) -> None:
    token = RuledIssuer(name).mint()
    raw = b64url_decode(token.rpartition(".")[2])
    issuers = RuledIssuer(name).trusted
    for wrong in (b"", raw[:-1] if name not in ("RS256", "PS256") else raw[:255], raw + bytes(257)):
        with pytest.raises(InvalidToken) as caught:
            parse_token(resigned(token, wrong), issuers)
        assert caught.value.check is TokenCheck.SIGNATURE_FORM


def test_a_signature_out_of_range_is_refused_before_a_key_is_looked_for() -> None:
    order = int("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
                "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16)  # fmt: skip
    good = (1).to_bytes(48, "big")
    for bad in (bytes(48), order.to_bytes(48, "big"), b"\xff" * 48):
        for raw in (good + bad, bad + good):
            with pytest.raises(MalformedText):
                ALGORITHMS["ES384"].parse(b64url_encode(raw))
    ALGORITHMS["ES384"].parse(b64url_encode(good + (order - 1).to_bytes(48, "big")))
    ed25519_order = 2**252 + 27742317777372353535851937790883648493
    with pytest.raises(MalformedText):
        ALGORITHMS["EdDSA"].parse(b64url_encode(bytes(32) + ed25519_order.to_bytes(32, "little")))


@pytest.mark.parametrize(("configured", "used"), PAIRS)
def test_an_algorithm_that_is_not_the_issuers_is_refused_though_the_signature_is_right(
    configured: str, used: str
) -> None:
    issuer = RuledIssuer(used, algorithms=frozenset({configured}))
    assert refusal(issuer.mint(), issuer) is TokenCheck.ALGORITHM


@pytest.mark.parametrize(("of_key", "claimed"), PAIRS)
def test_a_key_serves_no_algorithm_but_its_own_where_several_are_allowed(of_key: str, claimed: str) -> None:
    issuer = RuledIssuer(of_key, algorithms=EVERY)
    token = issuer.mint(header={"alg": claimed})
    # Some signatures have the length of the other algorithm's; then the key is what does not fit.
    assert refusal(token, issuer) in (TokenCheck.KEY_ALGORITHM, TokenCheck.SIGNATURE_FORM)
    foreign = signature(claimed, private_key(claimed), token.rpartition(".")[0].encode())
    assert refusal(resigned(token, foreign), issuer) is TokenCheck.KEY_ALGORITHM


@pytest.mark.parametrize(("of_key", "other"), PAIRS)
def test_no_signature_verifies_with_a_key_of_another_kind(of_key: str, other: str) -> None:
    key = RuledIssuer(of_key).public()
    made = ALGORITHMS[other].parse(b64url_encode(signature(other, private_key(other), b"x")))
    assert not made.fits(key)
    assert not made.verifies(key, b"x")


@pytest.mark.parametrize(("published", "used"), [("PS256", "RS256"), ("RS256", "PS256")])
def test_an_rsa_key_that_is_published_for_one_padding_serves_no_other(published: str, used: str) -> None:
    issuer = RuledIssuer(used, algorithms=frozenset({"RS256", "PS256"}))
    assert identify(issuer.mint(), issuer)
    assert refusal(issuer.mint(), issuer, issuer.jwks(alg=published)) is TokenCheck.KEY_ALGORITHM


@pytest.mark.parametrize("alg", ["HS256", "none", "NONE", "", "rs256", "RS512", "PS384", None, 1, ["RS256"]])
def test_a_key_that_everybody_knows_is_no_secret(alg: object) -> None:
    issuer = RuledIssuer("RS256")
    key = issuer.key
    assert isinstance(key, rsa.RSAPrivateKey)
    text = issuer.mint(header={"alg": alg}).rpartition(".")[0]
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip(), json.dumps(issuer.jwk()).encode(), issuer.jwk()["n"].encode()):
        made = b64url_encode(hmac.digest(secret, text.encode(), sha256))
        assert refusal(f"{text}.{made}", issuer) is TokenCheck.ALGORITHM
    assert refusal(f"{text}.", issuer) is TokenCheck.ALGORITHM


def test_one_issuers_algorithm_is_not_anothers() -> None:
    # Both are trusted, so the header alone passes; then it is held against the issuer's own.
    ruled, plain = RuledIssuer("RS256"), Issuer()
    trusted = TrustedIssuers.of([plain.url], [ruled.rules])
    for issuer in (plain.url, ruled.url):
        algorithm = "RS256" if issuer == plain.url else "ES256"
        token = RuledIssuer(algorithm, url=issuer).mint()
        with pytest.raises(InvalidToken) as caught:
            parse_token(token, trusted)
        assert caught.value.check is TokenCheck.ALGORITHM
    assert parse_token(plain.mint(), trusted).rules is None


def test_pss_takes_a_salt_of_32_bytes_and_nothing_else() -> None:
    issuer = RuledIssuer("PS256")
    key = issuer.key
    assert isinstance(key, rsa.RSAPrivateKey)
    token = issuer.mint()
    for salt in (0, 20, padding.PSS.MAX_LENGTH):
        pss = padding.PSS(padding.MGF1(SHA256()), salt_length=salt)
        raw = key.sign(token.rpartition(".")[0].encode(), pss, SHA256())
        assert refusal(resigned(token, raw), issuer) is TokenCheck.SIGNATURE


def test_the_larger_twin_of_an_rsa_signature_is_refused() -> None:
    issuer = RuledIssuer("RS256")
    key = issuer.key
    assert isinstance(key, rsa.RSAPrivateKey)
    token = issuer.mint()
    s = int.from_bytes(b64url_decode(token.rpartition(".")[2]), "big") + key.public_key().public_numbers().n
    assert refusal(resigned(token, s.to_bytes(257, "big")), issuer) is TokenCheck.SIGNATURE


def odd(bits: int) -> int:
    """A number of exactly so many bits, as odd as a modulus."""
    return (1 << (bits - 1)) | 0x10001


@pytest.mark.parametrize(
    ("bits", "usable"),
    [(1024, False), (2047, False), (2048, True), (4096, True), (4097, False), (8192, False)],
)
def test_an_rsa_key_has_2048_to_4096_bits(bits: int, usable: bool) -> None:
    entry = rsa_jwk(odd(bits)) | {"kid": "1"}
    assert (parse_jwk(entry, EVERY) is not None) is usable


@pytest.mark.parametrize("exponent", [1, 3, 17, 65536, 65539, 2**32 + 65537, 2**64 + 1])
def test_an_rsa_key_has_the_usual_exponent(exponent: int) -> None:
    assert parse_jwk(rsa_jwk(odd(2048), exponent) | {"kid": "1"}, EVERY) is None


def test_zeros_before_a_modulus_change_nothing() -> None:
    entry = rsa_jwk(odd(4096))
    padded = entry | {"kid": "1", "n": b64url_encode(b"\0" + b64url_decode(entry["n"]))}
    longer = entry | {"kid": "1", "n": b64url_encode(b"\0\0" + b64url_decode(entry["n"]))}
    assert parse_jwk(padded, EVERY) is not None
    assert parse_jwk(longer, EVERY) is None


def test_an_even_modulus_is_no_key() -> None:
    assert parse_jwk(rsa_jwk(odd(2048) + 1) | {"kid": "1"}, EVERY) is None


def test_an_rsa_key_serves_what_its_entry_names() -> None:
    entry = rsa_jwk(odd(2048)) | {"kid": "1"}
    for members, served in (({}, {"RS256", "PS256"}), ({"alg": "PS256"}, {"PS256"})):
        parsed = parse_jwk(entry | members, EVERY)
        assert parsed is not None
        assert isinstance(parsed[1], RsaKey)
        assert parsed[1].algorithms == served
    assert parse_jwk(entry | {"alg": "RS512"}, EVERY) is None
    assert parse_jwk(entry, frozenset({"ES256", "EdDSA"})) is None


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_that_names_no_sound_key_is_skipped(name: str) -> None:
    good = RuledIssuer(name).jwk()
    number = "n" if good["kty"] == "RSA" else "x"
    others: tuple[object, ...] = (None, 1, [], {})
    wrong: list[dict[str, Any]] = [
        *(without(good, member) for member in good if member not in ("use", "alg")),
        *(good | {member: value} for member in good for value in others),
        good | {number: ""},
        good | {number: good[number] + "="},
        good | {number: b64url_encode(bytes(32))},
        good | {number: b64url_encode(b"\xff" * 600)},
        good | {"use": "enc"},
        good | {"alg": "HS256"},
        good | {"kty": "oct"},
        good | {"crv": "P-521"} if "crv" in good else good | {"kty": "EC"},
    ]
    assert parse_jwk(good, EVERY) is not None
    assert [entry for entry in wrong if parse_jwk(entry, EVERY) is not None] == []
    assert parse_jwk(good, EVERY - {name} - {"RS256", "PS256"}) is None


def test_an_ed25519_key_of_small_order_is_skipped() -> None:
    for point in (bytes(32), b"\1" + bytes(31)):
        assert (
            parse_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(point), "kid": "1"}, EVERY) is None
        )


def test_a_set_of_all_kinds_serves_those_of_the_issuer() -> None:
    entries = [jwk_of(private_key(name)) | {"kid": name} for name in NAMES]
    document = json.dumps({"keys": entries}).encode()
    assert set(parse_jwks(document)) == {"ES256"}
    assert set(parse_jwks(document, frozenset({"RS256", "ES384"}))) == {"ES384", "PS256", "RS256"}
    assert set(parse_jwks(document, EVERY)) == set(NAMES)


def test_published_rs256_example_verifies() -> None:
    # RFC 7515 A.2; its key has 2048 bits.
    jwk = {
        "kty": "RSA", "e": "AQAB", "kid": "1",
        "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4Q"
        "lL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBY"
        "UsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNm"
        "oudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    }  # fmt: skip
    text = (
        "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290"
        "Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5ju"
        "jGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRm"
        "B_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5A"
        "XLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    )
    parsed = parse_jwk(jwk, EVERY)
    assert parsed is not None
    head, _, segment = text.rpartition(".")
    assert ALGORITHMS["RS256"].parse(segment).verifies(parsed[1], head.encode())


def test_published_ed25519_example_verifies() -> None:
    # RFC 8037 A.4.
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "1"}
    text = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhij"
        "cNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    )
    parsed = parse_jwk(jwk, EVERY)
    assert parsed is not None
    head, _, segment = text.rpartition(".")
    assert ALGORITHMS["EdDSA"].parse(segment).verifies(parsed[1], head.encode())


def test_a_curve_is_not_taken_for_another() -> None:
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    assert not ALGORITHMS["ES256"].parse(b64url_encode(b"\1" * 64)).fits(p384)


MEMBERS = ["kty", "crv", "n", "e", "x", "y", "alg", "use", "kid"]


@given(st.sampled_from(NAMES), st.dictionaries(st.sampled_from(MEMBERS), JSON_VALUES, max_size=4))
def test_no_entry_raises(name: str, members: dict[str, Any]) -> None:
    parsed = parse_jwk(RuledIssuer(name).jwk(**members), EVERY)
    assert parsed is None or isinstance(parsed[0], str)


@given(
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "jwk"]), JSON_VALUES, max_size=3),
    st.dictionaries(
        st.sampled_from(["iss", "sub", "azp", "aud", "exp", "nbf", "scope", "scp", "events", "jti"]),
        JSON_VALUES,
        max_size=3,
    ),
    st.binary(max_size=600) | st.none(),
)
def test_no_token_raises_anything_but_token_errors(
    name: str, header: dict[str, Any], claims: dict[str, Any], raw: bytes | None
) -> None:
    issuer = RuledIssuer(name, algorithms=EVERY, client_claim="azp")
    token = issuer.mint(header=header, **claims)
    with suppress(TokenError):
        identify(token if raw is None else resigned(token, raw), issuer)


@given(st.text(), st.text(), st.text())
def test_no_text_raises_anything_but_token_errors(header: str, payload: str, segment: str) -> None:
    issuer = RuledIssuer("RS256", algorithms=EVERY)
    with pytest.raises(TokenError):
        identify(f"{header}.{payload}.{segment}", issuer)
