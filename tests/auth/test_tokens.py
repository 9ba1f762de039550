"""Access tokens: every rule of docs/tokens.md 3.2 and 3.3 and its order."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    PERSONAL_SPACE_ROOTS,
    TOKEN_CHARS_MAX,
    AuthError,
    ExpiredToken,
    Identity,
    InvalidToken,
    Keys,
    MissingToken,
    TokenCheck,
    TokenError,
    TokenPolicy,
    TrustedIssuers,
    UntrustedIssuer,
    b64url_decode,
    b64url_encode,
    normalize_issuer,
    parse_jwks,
    parse_token,
    personal_space_id,
    verify_token,
)
from less_sync.auth.es256 import P256_ORDER
from tests.auth.minting import NOW, Issuer, jws, without
from tests.auth.vectors import auth_vectors, names

JWT = auth_vectors()["jwt"]
VECTOR_KEYS = {
    issuer: parse_jwks(json.dumps(jwks).encode()) for issuer, jwks in JWT["jwks_by_issuer"].items()
}
ANY_POLICY = TokenPolicy()
ISSUER = Issuer()
VALID = ISSUER.mint()
STRING_CLAIMS = ["sub", "client_id", "scope", "personal_space_id", "did", "mailbox_id", "jti"]


def identify(
    token: str,
    *,
    keys: Mapping[str, Keys] | None = None,
    policy: TokenPolicy = ANY_POLICY,
    now: float = NOW,
) -> Identity:
    known = {ISSUER.url: ISSUER.keys} if keys is None else keys
    unverified = parse_token(token, TrustedIssuers.of(known))
    key = known[unverified.issuer].get(unverified.kid)
    if key is None:
        raise InvalidToken(TokenCheck.KEY)
    return verify_token(unverified, key, policy=policy, now=now)


@pytest.mark.parametrize("case", JWT["cases"], ids=names(JWT["cases"]))
def test_vector_is_judged_as_stated(case: dict[str, Any]) -> None:
    policy = TokenPolicy(audiences=frozenset(case["audiences"]))
    expected = case["expect"]
    if "error" in expected:
        with pytest.raises(AuthError) as caught:
            identify(case["token"], keys=VECTOR_KEYS, policy=policy, now=case["now"])
        assert type(caught.value).__name__ == expected["error"]
        assert str(caught.value) == JWT["errors"][expected["error"]]
        return
    identity = identify(case["token"], keys=VECTOR_KEYS, policy=policy, now=case["now"])
    claims = {"user_id": identity.user_id, "client_id": identity.client_id, "issuer": identity.issuer}
    claims |= {"scope": identity.scope, "did": identity.did, "mailbox_id": identity.mailbox_id}
    claims |= {"personal_space_id": identity.personal_space_id, "jti": identity.token_id}
    assert claims == expected


@pytest.mark.parametrize("case", JWT["issuer_normalization"], ids=lambda case: repr(case["issuer"]))
def test_issuer_is_normalised_by_its_trailing_slashes_alone(case: dict[str, str]) -> None:
    assert normalize_issuer(case["issuer"]) == case["normalized"]


def test_valid_token_yields_its_claims() -> None:
    space = "6f4e4c06-45d1-5038-9f24-4f09c45251ef"
    identity = identify(ISSUER.mint(did="did:key:z", mailbox_id="m", jti="j", personal_space_id=space))
    assert identity == Identity(
        issuer=ISSUER.url,
        user_id="user-1",
        client_id="client-1",
        personal_space_id=space,
        did="did:key:z",
        mailbox_id="m",
        scope="sync files",
        expires_at=NOW + 900,
        token_id="j",
        personal_space=UUID(space),
    )


def test_empty_text_is_a_missing_token() -> None:
    with pytest.raises(MissingToken):
        identify("")


def test_longest_token_passes_and_one_character_more_does_not() -> None:
    claims = ISSUER.claims(pad="")
    header = ISSUER.header()
    room = TOKEN_CHARS_MAX - len(ISSUER.mint_exactly(header, claims))
    claims["pad"] = "x" * (room * 3 // 4)
    while len(ISSUER.mint_exactly(header, claims)) < TOKEN_CHARS_MAX:
        claims["pad"] += "x"
    longest = ISSUER.mint_exactly(header, claims)
    assert len(longest) == TOKEN_CHARS_MAX
    assert identify(longest).user_id == "user-1"
    header["x"] = ""
    with pytest.raises(InvalidToken):
        identify(ISSUER.mint_exactly(header, claims))


@pytest.mark.parametrize("segments", [1, 2, 4, 5])
def test_other_than_three_segments_are_invalid(segments: int) -> None:
    with pytest.raises(InvalidToken):
        identify(".".join([*VALID.split("."), "AA", "AA"][:segments]))


@pytest.mark.parametrize("segment", [0, 1, 2])
@pytest.mark.parametrize("spoil", ["{}=", "{}==", "{}\n", " {}", "{}!", "+{}", "A{}"])
def test_no_segment_has_a_second_text(segment: int, spoil: str) -> None:
    segments = VALID.split(".")
    segments[segment] = spoil.format(segments[segment])
    with pytest.raises(InvalidToken):
        identify(".".join(segments))


def test_unused_bits_of_the_signature_are_zero() -> None:
    with pytest.raises(InvalidToken):
        identify(VALID[:-1] + chr(ord(VALID[-1]) + 1))


@pytest.mark.parametrize(
    "header",
    [
        without(ISSUER.header(), "alg"),
        ISSUER.header(alg="none"),
        ISSUER.header(alg="es256"),
        ISSUER.header(alg="HS256"),
        ISSUER.header(alg="EdDSA"),
        ISSUER.header(alg=None),
        ISSUER.header(alg=["ES256"]),
        ISSUER.header(typ=1),
        ISSUER.header(typ="\ud800"),
        without(ISSUER.header(), "kid"),
        ISSUER.header(kid=None),
        ISSUER.header(kid=1),
        ISSUER.header(kid="\ud800"),
        ISSUER.header(kid="2"),
        ISSUER.header(crit=["exp"]),
        ISSUER.header(crit=None),
    ],
    ids=repr,
)
def test_header_that_is_not_plain_es256_is_invalid(header: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        identify(ISSUER.mint(header=header))


@pytest.mark.parametrize(
    "header",
    [
        without(ISSUER.header(), "typ"),
        ISSUER.header(typ=None),
        ISSUER.header(typ="at+jwt"),
        ISSUER.header(x=1),
    ],
    ids=repr,
)
def test_type_and_unknown_members_of_the_header_do_not_matter(header: dict[str, Any]) -> None:
    assert identify(ISSUER.mint(header=header)).user_id == "user-1"


def test_empty_key_id_is_a_key_id() -> None:
    assert identify(ISSUER.mint(header=ISSUER.header(kid="")), keys={ISSUER.url: {"": ISSUER.keys["1"]}})


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        (without(ISSUER.claims(), "iss"), UntrustedIssuer),
        (ISSUER.claims(iss=None), UntrustedIssuer),
        (ISSUER.claims(iss="https://other.example.com"), UntrustedIssuer),
        (ISSUER.claims(iss="https://ISSUER.example.com"), UntrustedIssuer),
        (ISSUER.claims(iss=""), UntrustedIssuer),
        (ISSUER.claims(iss=1), InvalidToken),
        (ISSUER.claims(iss="\ud800"), InvalidToken),
    ],
)
def test_issuer_that_is_not_trusted_is_told_apart(claims: dict[str, Any], error: type[AuthError]) -> None:
    with pytest.raises(error) as caught:
        identify(ISSUER.mint_exactly(ISSUER.header(), claims))
    assert type(caught.value) is error


def test_issuer_with_trailing_slashes_is_the_same_and_kept_as_sent() -> None:
    identity = identify(ISSUER.mint(iss=ISSUER.url + "//"))
    assert identity.issuer == ISSUER.url + "//"


def test_each_issuer_is_checked_with_its_own_keys() -> None:
    one, other = Issuer("https://one.example.com"), Issuer("https://other.example.com")
    keys = {one.url: one.keys, other.url: other.keys}
    assert identify(one.mint(), keys=keys).issuer == one.url
    assert identify(other.mint(), keys=keys).issuer == other.url
    with pytest.raises(InvalidToken):
        identify(other.mint(iss=one.url), keys=keys)


def test_two_keys_of_one_set_both_verify() -> None:
    first, second = Issuer(kid="1"), Issuer(kid="2")
    keys = {first.url: {**first.keys, **second.keys}}
    assert identify(first.mint(), keys=keys) == identify(second.mint(), keys=keys)


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_signature_of_another_length_is_invalid(length: int) -> None:
    head = VALID.rpartition(".")[0]
    with pytest.raises(InvalidToken):
        identify(f"{head}.{b64url_encode(b'1' * length)}")


def _resigned(r: int, s: int) -> str:
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return f"{VALID.rpartition('.')[0]}.{b64url_encode(raw)}"


def _signature() -> tuple[int, int]:
    raw = b64url_decode(VALID.rpartition(".")[2])
    return int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")


def test_both_halves_of_the_signature_range_are_accepted() -> None:
    r, s = _signature()
    assert identify(_resigned(r, s)) == identify(_resigned(r, P256_ORDER - s))


def test_signature_numbers_out_of_range_are_invalid() -> None:
    r, s = _signature()
    for wrong in ((0, s), (r, 0), (0, 0), (P256_ORDER, s), (r, P256_ORDER), (r, 2**256 - 1), (s, r)):
        with pytest.raises(InvalidToken):
            identify(_resigned(*wrong))


def test_signature_in_der_is_invalid() -> None:
    der = encode_dss_signature(*_signature())
    with pytest.raises(InvalidToken):
        identify(f"{VALID.rpartition('.')[0]}.{b64url_encode(der)}")


def test_signature_is_looked_at_before_the_claims() -> None:
    forged = Issuer()
    with pytest.raises(InvalidToken):
        identify(forged.mint(exp=1))


@pytest.mark.parametrize("claim", STRING_CLAIMS)
@pytest.mark.parametrize("value", [None, 1, 1.5, True, ["x"], {"x": 1}, "\ud800"], ids=repr)
def test_string_claim_of_another_type_is_invalid(claim: str, value: Any) -> None:
    with pytest.raises(InvalidToken):
        identify(ISSUER.mint(**{claim: value}))


@pytest.mark.parametrize("claim", without(dict.fromkeys(STRING_CLAIMS), "sub", "client_id"))
def test_string_claim_may_be_absent_and_is_then_empty(claim: str) -> None:
    identity = identify(ISSUER.mint_exactly(ISSUER.header(), without(ISSUER.claims(), claim)))
    assert getattr(identity, {"jti": "token_id"}.get(claim, claim)) == ""


@pytest.mark.parametrize("claim", ["sub", "client_id"])
def test_user_and_client_must_be_named(claim: str) -> None:
    for claims in (ISSUER.claims(**{claim: ""}), without(ISSUER.claims(), claim)):
        with pytest.raises(InvalidToken):
            identify(ISSUER.mint_exactly(ISSUER.header(), claims))


@pytest.mark.parametrize("value", [1, True, {"a": 1}, ["less-sync", 1], [None]], ids=repr)
def test_audience_of_another_type_is_invalid_even_when_none_is_asked_for(value: object) -> None:
    with pytest.raises(InvalidToken):
        identify(ISSUER.mint(aud=value))


def test_audience_must_share_a_value_when_one_is_asked_for() -> None:
    policy = TokenPolicy(audiences=frozenset(["less-sync", "betterbase-sync"]))
    for accepted in ("less-sync", ["betterbase-sync"], ["x", "less-sync"]):
        assert identify(ISSUER.mint(aud=accepted), policy=policy)
    for refused in ("", "Less-Sync", "less-sync ", [], ["x"], None):
        with pytest.raises(InvalidToken):
            identify(ISSUER.mint(aud=refused), policy=policy)
    unasked: object
    for unasked in ("x", [], None):
        assert identify(ISSUER.mint(aud=unasked))


def test_token_is_good_through_the_whole_second_of_its_expiry() -> None:
    token = ISSUER.mint(exp=NOW)
    assert identify(token, now=NOW + 0.999).expires_at == NOW
    with pytest.raises(ExpiredToken):
        identify(token, now=NOW + 1)


def test_expiry_is_told_before_audience_and_subject() -> None:
    with pytest.raises(ExpiredToken):
        identify(ISSUER.mint(exp=1, aud="x", sub=""), policy=TokenPolicy(audiences=frozenset(["y"])))


@pytest.mark.parametrize("value", ["1", 1.5, -1, True, 2**64, [1]], ids=repr)
def test_expiry_of_another_type_or_range_is_invalid(value: object) -> None:
    with pytest.raises(InvalidToken):
        identify(ISSUER.mint(exp=value))


def test_largest_expiry_is_accepted() -> None:
    assert identify(ISSUER.mint(exp=2**64 - 1)).expires_at == 2**64 - 1


def test_expiry_may_be_left_out_only_where_policy_allows() -> None:
    for token in (
        ISSUER.mint(exp=None),
        ISSUER.mint_exactly(ISSUER.header(), without(ISSUER.claims(), "exp")),
    ):
        with pytest.raises(InvalidToken):
            identify(token)
        assert identify(token, policy=TokenPolicy(require_exp=False)).expires_at == 0


def test_not_before_may_be_a_minute_ahead() -> None:
    assert identify(ISSUER.mint(nbf=NOW + 60))
    for refused in (NOW + 61, -1, "1", 1.0, False):
        with pytest.raises(InvalidToken):
            identify(ISSUER.mint(nbf=refused))


def test_issue_time_is_not_looked_at() -> None:
    assert identify(ISSUER.mint(iat="whenever"))


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"%s","sub":"a","sub":"b","client_id":"c","exp":1767226500}',
        b'{"iss":"%s","sub":"a","client_id":"c","exp":1767226500,"x":NaN}',
        b'{"iss":"%s","sub":"a","client_id":"c","exp":-0}',
        b'\xef\xbb\xbf{"iss":"%s","sub":"a","client_id":"c","exp":1767226500}',
        b'[{"iss":"%s"}]',
        b'{"iss":"%s","sub":"\xff","client_id":"c","exp":1767226500}',
    ],
)
def test_payload_that_is_not_strict_json_is_invalid(payload: bytes) -> None:
    signed = jws(ISSUER.key, json.dumps(ISSUER.header()).encode(), payload % ISSUER.url.encode())
    with pytest.raises(InvalidToken):
        identify(signed)


def test_derived_personal_space_is_asked_for_only_where_policy_says_so() -> None:
    derive = TokenPolicy(personal_space_check="derive")
    for root in PERSONAL_SPACE_ROOTS.values():
        own = personal_space_id(root, ISSUER.url, "user-1", "client-1")
        assert identify(ISSUER.mint(personal_space_id=str(own)), policy=derive).personal_space == own
    assert identify(ISSUER.mint(), policy=derive).personal_space is None
    foreign = personal_space_id(root, "https://other.example.com", "user-1", "client-1")
    for claim in (str(foreign), "no uuid"):
        assert identify(ISSUER.mint(personal_space_id=claim)).personal_space_id == claim
        with pytest.raises(InvalidToken):
            identify(ISSUER.mint(personal_space_id=claim), policy=derive)


def test_derived_personal_space_counts_only_under_enabled_namespaces() -> None:
    roots = PERSONAL_SPACE_ROOTS
    policy = TokenPolicy(personal_space_check="derive", namespaces=(roots["less"],))
    space = str(personal_space_id(roots["betterbase"], ISSUER.url, "user-1", "client-1"))
    with pytest.raises(InvalidToken):
        identify(ISSUER.mint(personal_space_id=space), policy=policy)


def test_no_flip_of_any_bit_of_a_valid_token_is_accepted() -> None:
    assert identify(VALID)
    for position, character in enumerate(VALID):
        for bit in range(7):
            flipped = VALID[:position] + chr(ord(character) ^ 1 << bit) + VALID[position + 1 :]
            with pytest.raises(AuthError):
                identify(flipped)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), JSON_VALUES, max_size=3),
    st.dictionaries(
        st.sampled_from(["iss", "aud", "exp", "nbf", "iat", *STRING_CLAIMS]), JSON_VALUES, max_size=4
    ),
)
def test_no_signed_members_raise_anything_but_auth_errors(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    token = ISSUER.mint_exactly(ISSUER.header(**header), ISSUER.claims(**claims))
    with suppress(AuthError):
        assert isinstance(identify(token), Identity)


@given(st.text(max_size=60) | st.from_regex(r"[\w-]{0,20}\.[\w-]{0,20}\.[\w-]{0,20}"))
def test_no_text_raises_anything_but_auth_errors(text: str) -> None:
    with pytest.raises(AuthError):
        identify(text)


def test_errors_and_reprs_show_nothing_of_the_token() -> None:
    token = ISSUER.mint(sub="secret-user")
    unverified = parse_token(token, TrustedIssuers.of([ISSUER.url]))
    assert repr(unverified) == f"UnverifiedToken(issuer={ISSUER.url!r})"
    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(InvalidToken) as caught:
        verify_token(unverified, stranger, policy=ANY_POLICY, now=NOW)
    assert (str(caught.value), caught.value.args) == ("invalid token", ())


HEAD, PAYLOAD, SIGNATURE = VALID.split(".")


@pytest.mark.parametrize(
    ("token", "check"),
    [
        ("", TokenCheck.PRESENT),
        ("x" * (TOKEN_CHARS_MAX + 1), TokenCheck.LENGTH),
        ("a.b", TokenCheck.SEGMENTS),
        (f"!.{PAYLOAD}.{SIGNATURE}", TokenCheck.HEADER),
        (ISSUER.mint(header=ISSUER.header(alg="none")), TokenCheck.ALGORITHM),
        (ISSUER.mint(header=ISSUER.header(crit=[])), TokenCheck.EXTENSION),
        (ISSUER.mint(header=ISSUER.header(typ=1)), TokenCheck.TYPE),
        (ISSUER.mint(header=ISSUER.header(kid=1)), TokenCheck.KEY_ID),
        (ISSUER.mint(header=without(ISSUER.header(), "kid")), TokenCheck.KEY_ID),
        (f"{HEAD}.!.{SIGNATURE}", TokenCheck.PAYLOAD),
        (ISSUER.mint(iss=1), TokenCheck.ISSUER_TYPE),
        (ISSUER.mint(iss="https://other.example.com"), TokenCheck.ISSUER),
        (f"{HEAD}.{PAYLOAD}.AA", TokenCheck.SIGNATURE_FORM),
        (ISSUER.mint(header=ISSUER.header(kid="2")), TokenCheck.KEY),
        (Issuer().mint(), TokenCheck.SIGNATURE),
        (ISSUER.mint(sub=1), TokenCheck.CLAIM_TYPE),
        (ISSUER.mint(exp=None), TokenCheck.NO_EXPIRY),
        (ISSUER.mint(exp=1), TokenCheck.EXPIRED),
        (ISSUER.mint(nbf=NOW + 1000), TokenCheck.NOT_YET),
        (ISSUER.mint(aud="x"), TokenCheck.AUDIENCE),
        (ISSUER.mint(sub=""), TokenCheck.SUBJECT),
        (ISSUER.mint(personal_space_id=str(UUID(int=1))), TokenCheck.PERSONAL_SPACE),
    ],
    ids=lambda value: value.name if isinstance(value, TokenCheck) else "",
)
def test_a_refusal_names_the_check_that_failed(token: str, check: TokenCheck) -> None:
    policy = TokenPolicy(audiences=frozenset(["less-sync"]), personal_space_check="derive")
    with pytest.raises(TokenError) as caught:
        identify(token, policy=policy)
    assert caught.value.check is check


def test_a_header_that_is_remembered_is_judged_anew() -> None:
    issuers = TrustedIssuers.of({ISSUER.url: ISSUER.keys})
    for _ in range(2):
        assert parse_token(VALID, issuers).kid == ISSUER.kid
        with pytest.raises(InvalidToken) as caught:
            parse_token(VALID, replace(issuers, algorithms=frozenset({"RS256"})))
        assert caught.value.check is TokenCheck.ALGORITHM


def test_a_header_too_long_to_be_remembered_is_read_all_the_same() -> None:
    header = ISSUER.header(x="x" * 1000)
    assert identify(ISSUER.mint(header=header)).user_id == "user-1"
