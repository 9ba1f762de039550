"""Signatures of requests between servers (docs/tokens.md 9)."""

from base64 import b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from less_sync.auth import (
    SIGNED_CHARS_MAX,
    TARGET_SCHEMES,
    InvalidKeyId,
    InvalidSignatureHeader,
    InvalidSignatureInput,
    KeyLookupFailed,
    MissingRequiredComponent,
    MissingSignature,
    MissingSignatureInput,
    SignatureError,
    SignatureExpired,
    SignedRequest,
    UnsupportedAlgorithm,
    VerificationFailed,
    VerifiedSignature,
    b64url_decode,
    parse_signature_input,
    read_signature,
    sign_request,
    verify_request,
)
from less_sync.auth import errors as auth_errors
from tests.auth.minting import NOW
from tests.auth.vectors import auth_vectors, names

HTTP = auth_vectors()["http_signature"]
VECTOR_KEYS = {key_id: b64url_decode(key) for key_id, key in HTTP["keys_by_id"].items()}
KEY_ID = "https://peer.example.com/.well-known/jwks.json#fed-1"
KEY = SigningKey(bytes(range(32)))
KEYS: Mapping[str, bytes] = MappingProxyType({KEY_ID: bytes(KEY.verify_key)})
HOST = "sync.example.com"
TARGET = "/api/v1/federation/ws"


def request_of(case: dict[str, Any]) -> SignedRequest:
    request = case["request"]
    return SignedRequest.of(
        method=request["method"], target=request["target"], headers=request["headers"].items()
    )


def signed(*, created: int = NOW, key_id: str = KEY_ID, key: SigningKey = KEY) -> dict[str, str]:
    headers = sign_request(
        key, key_id=key_id, created=created, method="GET", target_uri=f"ws://{HOST}{TARGET}", host=HOST
    )
    return {"Host": HOST, "Signature-Input": headers.signature_input, "Signature": headers.signature}


def verify(
    headers: Mapping[str, str], *, method: str = "GET", target: str = TARGET, now: float = NOW
) -> VerifiedSignature:
    request = SignedRequest.of(method=method, target=target, headers=headers.items())
    return verify_request(request, key_of=KEYS.get, now=now)


def signed_over(parameters: str, values: Mapping[str, str], **headers: str) -> dict[str, str]:
    """Headers with a right signature over any parameters and component values."""
    lines = [f'"{name}": {value}' for name, value in values.items()]
    base = "\n".join([*lines, f'"@signature-params": {parameters}'])
    signature = b64encode(KEY.sign(base.encode()).signature).decode()
    return {"Host": HOST, "Signature-Input": f"sig={parameters}", "Signature": f"sig=:{signature}:"} | headers


@pytest.mark.parametrize("case", HTTP["sign"], ids=lambda case: case["target_uri"])
def test_request_of_the_vectors_is_signed_byte_for_byte(case: dict[str, Any]) -> None:
    headers = sign_request(
        SigningKey(bytes.fromhex(case["seed_hex"])),
        key_id=case["key_id"],
        created=case["created"],
        method=case["method"],
        target_uri=case["target_uri"],
        host=case["host"],
    )
    assert headers.signature_input == case["signature_input"]
    assert headers.signature == case["signature"]


@pytest.mark.parametrize("case", HTTP["verify"], ids=names(HTTP["verify"]))
def test_request_of_the_vectors_is_judged_as_stated(case: dict[str, Any]) -> None:
    def judge() -> VerifiedSignature:
        return verify_request(
            request_of(case), key_of=VECTOR_KEYS.get, now=case["now"], age_s_max=case["max_age"]
        )

    if case["expect"] == "ok":
        assert judge().base == case["signature_base"]
        return
    with pytest.raises(SignatureError) as caught:
        judge()
    kind = case["expect"]["error"]
    assert type(caught.value) is getattr(auth_errors, kind)
    assert str(caught.value).startswith(HTTP["errors"][kind].partition("{")[0])


def test_signature_round_trips_and_says_what_it_covers() -> None:
    verified = verify(signed())
    assert (verified.key_id, verified.created) == (KEY_ID, NOW)
    assert verified.components == ("@method", "@target-uri", "host")
    assert len(verified.signature) == 64


def test_age_is_limited_both_ways_to_the_very_instant() -> None:
    for created in (NOW - 300, NOW + 300):
        assert verify(signed(created=created))
    for created, now in (
        (NOW - 301, NOW),
        (NOW + 301, NOW),
        (NOW - 300, NOW + 0.001),
        (NOW + 300, NOW - 0.001),
    ):
        with pytest.raises(SignatureExpired):
            verify(signed(created=created), now=now)
    with pytest.raises(SignatureExpired):
        verify_request(
            SignedRequest.of(method="GET", target=TARGET, headers=signed().items()),
            key_of=KEYS.get,
            now=NOW + 0.5,
            age_s_max=0,
        )


@pytest.mark.parametrize("header", ["Signature-Input", "Signature"])
@pytest.mark.parametrize("value", [None, "\u00e9", "sig=\x00", "sig=\n"])
def test_header_that_is_absent_or_not_visible_is_missing(header: str, value: str | None) -> None:
    headers = signed()
    del headers[header]
    if value is not None:
        headers[header] = value
    with pytest.raises(MissingSignatureInput if header == "Signature-Input" else MissingSignature):
        verify(headers)


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ("", "expected sig= prefix"),
        ("sig1=()", "expected sig= prefix"),
        ('SIG=("host")', "expected sig= prefix"),
        ("sig=", "expected ( after sig="),
        ("sig=no-paren", "expected ( after sig="),
        ('sig=("@method"', "unclosed component list"),
        ('sig=(@method);alg="ed25519";created=1', "missing keyid parameter"),
        ('sig=("@method");keyid="k";created=1', "missing alg parameter"),
        ('sig=("@method");keyid="k";alg="ed25519"', "missing created parameter"),
        ('sig=("@method") ;keyid="k";alg="a";created=1', "missing keyid parameter"),
        ('sig=();keyid="k";alg="a";created=soon', "invalid created timestamp: not an integer"),
        ('sig=();keyid="k";alg="a";created="1"', "invalid created timestamp: not an integer"),
        ('sig=();keyid="k";alg="a";created=1.5', "invalid created timestamp: not an integer"),
        ('sig=();keyid="k";alg="a";created=', "invalid created timestamp: not an integer"),
        ('sig=();keyid="k";alg="a";created=1234567890123456', "invalid created timestamp: not an integer"),
        ('sig=();keyid="k";alg="a";created=-5', "invalid created timestamp: negative"),
        ('sig=();keyid=1;alg="a";created=1', "keyid is not a string"),
        ('sig=();keyid="k";alg=7;created=1', "alg is not a string"),
        ('sig=();keyid=k;alg="a";created=1', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;keyid="l"', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;x=y', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;x=1234567890123456', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;;x=1', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;X=1', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1;x', "malformed parameters"),
        ('sig=();keyid="k";alg="a";created=1,sig2=()', "invalid created timestamp: not an integer"),
        ('sig=();keyid="k";alg="a";created=1;x="a"b', "malformed parameters"),
        ('sig=(host);keyid="k";alg="a";created=1', "malformed component list"),
        ('sig=("host"  "date");keyid="k";alg="a";created=1', "malformed component list"),
        ('sig=( "host");keyid="k";alg="a";created=1', "malformed component list"),
        ('sig=("host";sf);keyid="k";alg="a";created=1', "malformed component list"),
        ('sig=("ho\\st");keyid="k";alg="a";created=1', "malformed component list"),
    ],
)
def test_malformed_signature_input_says_where(header: str, detail: str) -> None:
    with pytest.raises(InvalidSignatureInput) as caught:
        parse_signature_input(header)
    assert str(caught.value) == f"invalid Signature-Input: {detail}"


def test_signature_input_is_read_in_any_order_and_kept_as_received() -> None:
    parameters = '("host" "@method");nonce="n";created=7;alg="x";tag-1=-3;keyid="a#b"'
    parsed = parse_signature_input(f"sig={parameters}")
    assert (parsed.components, parsed.key_id, parsed.algorithm) == (("host", "@method"), "a#b", "x")
    assert (parsed.created, parsed.parameters) == (7, parameters)


def test_other_algorithm_is_named_and_looked_at_before_the_age() -> None:
    headers = signed(created=1)
    headers["Signature-Input"] = headers["Signature-Input"].replace('"ed25519"', '"hmac-sha256"')
    with pytest.raises(UnsupportedAlgorithm) as caught:
        verify(headers)
    assert str(caught.value) == "unsupported algorithm: hmac-sha256"


@pytest.mark.parametrize("missing", ["@method", "@target-uri", "host"])
def test_method_target_and_host_must_be_covered(missing: str) -> None:
    headers = signed()
    headers["Signature-Input"] = headers["Signature-Input"].replace(f'"{missing}"', '"date"')
    with pytest.raises(MissingRequiredComponent) as caught:
        verify(headers)
    assert str(caught.value) == f'required component "{missing}" not covered'


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        ("", "expected sig=: prefix"),
        ("sig=AAAA", "expected sig=: prefix"),
        ("sig1=:AAAA:", "expected sig=: prefix"),
        ("sig=:AAAA", "expected trailing colon"),
        ("sig=::", "malformed signature bytes"),
        ("sig=:AAAA:", "malformed signature bytes"),
        ("sig=:" + "A" * 86 + ":", "malformed signature bytes"),
        ("sig=:" + "A" * 85 + "B==:", "malformed signature bytes"),
        ("sig=:" + "_" * 85 + "w==:", "malformed signature bytes"),
        ("sig=:" + "A" * 40 + " " + "A" * 46 + "==:", "malformed signature bytes"),
    ],
)
def test_malformed_signature_says_where(header: str, detail: str) -> None:
    with pytest.raises(InvalidSignatureHeader) as caught:
        verify(signed() | {"Signature": header})
    assert str(caught.value) == f"invalid Signature header: {detail}"


def test_key_that_is_not_known_is_told_apart_from_a_wrong_one() -> None:
    with pytest.raises(KeyLookupFailed) as caught:
        verify(signed(key_id=KEY_ID + "x"))
    assert str(caught.value) == "key lookup failed: unknown key id"
    with pytest.raises(VerificationFailed):
        verify(signed(key=SigningKey(bytes(32))))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_key_that_is_no_good_point_verifies_nothing(key: bytes) -> None:
    request = SignedRequest.of(method="GET", target=TARGET, headers=signed().items())
    with pytest.raises(VerificationFailed):
        verify_request(request, key_of=lambda _: key, now=NOW)


@pytest.mark.parametrize("scheme", ["ws", "wss", "https", "http"])
def test_four_schemes_are_tried_in_turn(scheme: str) -> None:
    headers = sign_request(
        KEY, key_id=KEY_ID, created=NOW, method="GET", target_uri=f"{scheme}://{HOST}{TARGET}?q=1", host=HOST
    )
    lines = {"Host": HOST, "Signature-Input": headers.signature_input, "Signature": headers.signature}
    assert f"{scheme}://" in verify(lines, target=TARGET + "?q=1").base
    for target in (TARGET, TARGET + "?q=2", TARGET + "?q=1&"):
        with pytest.raises(VerificationFailed):
            verify(lines, target=target)


def test_absolute_target_is_used_as_it_is() -> None:
    assert verify(signed(), target=f"ws://{HOST}{TARGET}")
    with pytest.raises(VerificationFailed):
        verify(signed(), target=f"wss://{HOST}{TARGET}")


COVERED = '("@method" "@target-uri" "host"{})' + f';keyid="{KEY_ID}";alg="ed25519";created={NOW}'
VALUES = {"@method": "GET", "@target-uri": f"ws://{HOST}{TARGET}", "host": HOST}


def test_further_header_may_be_covered_and_must_then_be_there() -> None:
    headers = signed_over(COVERED.format(' "date"'), VALUES | {"date": "now"})
    assert verify(headers | {"Date": "now"})
    for other in ({}, {"Date": "later"}, {"Date": ""}):
        with pytest.raises(VerificationFailed):
            verify(headers | other)
    absent = signed_over(COVERED.format(' "date"'), VALUES | {"date": ""})
    with pytest.raises(VerificationFailed):
        verify(absent)


def test_a_header_and_a_nonce_can_be_signed_along() -> None:
    def made(nonce: str) -> dict[str, str]:
        headers = sign_request(
            KEY,
            key_id=KEY_ID,
            created=NOW,
            method="HEAD",
            target_uri=f"http://{HOST}{TARGET}",
            host=HOST,
            headers={"x-ucan": "a.b.c"},
            nonce=nonce,
        )
        return {
            "Host": HOST,
            "X-UCAN": "a.b.c",
            "Signature-Input": headers.signature_input,
            "Signature": headers.signature,
        }

    one, other = made("n1"), made("n2")
    assert one["Signature-Input"] == (
        f'sig=("@method" "@target-uri" "host" "x-ucan");keyid="{KEY_ID}";alg="ed25519"'
        f';created={NOW};nonce="n1"'
    )
    assert one["Signature"] != other["Signature"]
    assert verify(one, method="HEAD").components == ("@method", "@target-uri", "host", "x-ucan")
    with pytest.raises(VerificationFailed):
        verify(one | {"X-UCAN": "a.b.d"}, method="HEAD")
    with pytest.raises(VerificationFailed):
        verify(one | {"Signature-Input": other["Signature-Input"]}, method="HEAD")


def test_more_may_be_wanted_signed_and_more_may_be_allowed() -> None:
    ucan = "u" * SIGNED_CHARS_MAX
    headers = sign_request(
        KEY,
        key_id=KEY_ID,
        created=NOW,
        method="GET",
        target_uri=f"http://{HOST}{TARGET}",
        host=HOST,
        headers={"x-ucan": ucan},
    )
    lines = {
        "Host": HOST,
        "X-UCAN": ucan,
        "Signature-Input": headers.signature_input,
        "Signature": headers.signature,
    }
    request = SignedRequest.of(method="GET", target=TARGET, headers=lines.items())
    with pytest.raises(VerificationFailed):
        read_signature(request, now=NOW, covering=("x-ucan",))
    twice = 2 * SIGNED_CHARS_MAX
    presented = read_signature(request, now=NOW, covering=("x-ucan",), covered_chars_max=twice)
    assert presented.verified_by(KEYS[KEY_ID]).components[-1] == "x-ucan"
    with pytest.raises(MissingRequiredComponent, match="date"):
        read_signature(request, now=NOW, covering=("x-ucan", "date"), covered_chars_max=twice)


def test_other_derived_component_or_one_covered_twice_is_refused() -> None:
    for extra, value in ((' "@path"', "/"), (' "@foo"', "")):
        with pytest.raises(VerificationFailed):
            verify(signed_over(COVERED.format(extra), VALUES | {extra.strip(' "'): value}))
    with pytest.raises(VerificationFailed):
        verify(signed_over(COVERED.format(' "host"'), VALUES))


def test_parameter_is_good_when_signed_and_fatal_when_appended() -> None:
    parameters = COVERED.format("") + ';nonce="n"'
    assert verify(signed_over(parameters, VALUES))
    headers = signed()
    headers["Signature-Input"] += ';nonce="n"'
    with pytest.raises(VerificationFailed):
        verify(headers)


@pytest.mark.parametrize(
    "host", ["", " ", "a b", 'a"b', "a%b", "a\\b", "a<b", "[::1", "a:1:2", "a]b", "a/b", "a@b", "a:x", "[g]"]
)
def test_malformed_host_is_refused_even_when_signed(host: str) -> None:
    values = VALUES | {"host": host, "@target-uri": f"ws://{host}{TARGET}"}
    with pytest.raises(VerificationFailed):
        verify(signed_over(COVERED.format(""), values, Host=host))


@pytest.mark.parametrize("host", ["a", "A.b-c_d", "a:", "a:5379", "127.0.0.1:1", "[::1]", "[::1]:5379", "a."])
def test_host_is_signed_as_sent(host: str) -> None:
    values = VALUES | {"host": host, "@target-uri": f"ws://{host}{TARGET}"}
    assert verify(signed_over(COVERED.format(""), values, Host=host))


def test_line_break_in_a_value_does_not_make_two_components() -> None:
    values = VALUES | {"@method": 'GET\n"x": y'}
    with pytest.raises(VerificationFailed):
        verify(signed_over(COVERED.format(""), values), method='GET\n"x": y')


def test_first_of_several_header_lines_counts() -> None:
    lines = [*signed().items(), ("HOST", "evil.example.com"), ("Signature", "sig=:AAAA:")]
    assert verify_request(
        SignedRequest.of(method="GET", target=TARGET, headers=lines), key_of=KEYS.get, now=NOW
    )


SEVENS = SigningKey(bytes([7]) * 32)
BY_SCHEME = {
    "ws": (245, "b5PeO7Hgo5fryVtYczOhuWmEQ8N2ahJwl1/bRjY0nDO8fsfFnqAcTco4ciGl5+B0RVxxz2Ailu1KdzxyKAL3Bw=="),
    "wss": (246, "iirKsVrARPrz7gJJmJ5Mm4eMUY4D4K0l4I6JJr2H2oNA2UizIfFV21cPfjORBMtNsMti8/kd2DPPbxPEcrGEDg=="),
    "https": (
        248,
        "vFGZxeyJ8mmTrgAV/opEyVpDGhO4eLRIlvGnI2IfBsR3MhZ8UwK6WdQL22BgWVAsfbp4VVIBNgMm8jQRg+RICw==",
    ),
}


@pytest.mark.parametrize("scheme", BY_SCHEME)
def test_signatures_that_existing_servers_make_are_made_and_accepted(scheme: str) -> None:
    uri, created = f"{scheme}://{HOST}{TARGET}", 1_700_000_000
    made = sign_request(SEVENS, key_id=KEY_ID, created=created, method="GET", target_uri=uri, host=HOST)
    assert made.signature == f"sig=:{BY_SCHEME[scheme][1]}:"
    lines = [("host", HOST), ("signature-input", made.signature_input), ("signature", made.signature)]
    request = SignedRequest.of(method="GET", target=TARGET, headers=lines)
    verified = verify_request(request, key_of={KEY_ID: bytes(SEVENS.verify_key)}.get, now=created)
    assert len(verified.base) == BY_SCHEME[scheme][0]


def test_request_without_host_is_refused() -> None:
    headers = signed()
    del headers["Host"]
    with pytest.raises(VerificationFailed):
        verify(headers)


@pytest.mark.parametrize("key_id", ["", 'a"b', "a\\b", "a;b", "a=b", "a b", "a\u00e9", "a\nb"])
def test_key_id_that_would_break_the_header_is_not_signed_with(key_id: str) -> None:
    with pytest.raises(InvalidKeyId):
        signed(key_id=key_id)


def test_no_flip_of_any_bit_of_what_is_signed_is_accepted() -> None:
    good = signed()
    for name, value in good.items():
        for position in range(len(value)):
            for bit in range(7):
                flipped = value[:position] + chr(ord(value[position]) ^ 1 << bit) + value[position + 1 :]
                with pytest.raises(SignatureError):
                    verify(good | {name: flipped})
    for target in (TARGET[:-1], TARGET + "/", TARGET.replace("v1", "v2"), ""):
        with pytest.raises(SignatureError):
            verify(good, target=target)
    with pytest.raises(SignatureError):
        verify(good, method="get")


@given(st.text(max_size=80), st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_request_raises_anything_but_signature_errors(
    signature_input: str, signature: str, host: str, target: str
) -> None:
    good = signed()
    for headers in (
        {"Signature-Input": signature_input, "Signature": signature, "Host": host},
        {"Signature-Input": "sig=(" + signature_input, "Signature": "sig=:" + signature, "Host": host},
        {**good, "Signature-Input": good["Signature-Input"] + signature_input + "x"},
        {**good, "Host": host},
    ):
        with pytest.raises(SignatureError):
            verify(headers, target=target)


@pytest.mark.parametrize(
    ("said", "schemes"),
    [
        ("https", ("wss", "https")),
        ("WSS , http", ("wss", "https")),
        ("http", ("ws", "http")),
        ("ws", ("ws", "http")),
        ("", TARGET_SCHEMES),
        ("gopher", TARGET_SCHEMES),
        (",https", TARGET_SCHEMES),
    ],
)
def test_believed_proxy_leaves_the_scheme_it_names_and_its_twin(said: str, schemes: tuple[str, ...]) -> None:
    lines = [("Host", "h"), ("X-Forwarded-Proto", said), ("X-Forwarded-Proto", "http")]
    request = SignedRequest.of(method="GET", target="/", headers=lines).forwarded()
    assert list(request.target_uris()) == [f"{scheme}://h/" for scheme in schemes]


def test_request_without_a_believed_header_may_have_any_scheme() -> None:
    request = SignedRequest.of(method="GET", target="/", headers=[("Host", "h")])
    assert request.forwarded() == request


def test_what_is_signed_is_bounded_and_all_that_is_held_of_a_request() -> None:
    room = SIGNED_CHARS_MAX - 1000
    lines = [*signed().items(), ("X-Long", "x" * 300_000)]
    presented = read_signature(SignedRequest.of(method="GET", target=TARGET, headers=lines), now=NOW)
    assert set(presented.request.headers) == {"host"}
    for length, fault in ((room, None), (SIGNED_CHARS_MAX, VerificationFailed)):
        values = VALUES | {"x-long": "x" * length}
        headers = signed_over(COVERED.format(' "x-long"'), values) | {"X-Long": "x" * length}
        if fault is None:
            assert verify(headers)
        else:
            with pytest.raises(fault):
                verify(headers)


@pytest.mark.parametrize(
    "bomb",
    [
        "sig=(" + '"a" ' * 100_000,
        "sig=(" + '"a' * 150_000 + ")",
        "sig=()" + ";" * 300_000,
        "sig=()" + ";a=1" * 80_000,
        "sig=()" + ";a" * 150_000,
        "sig=();keyid=" + '"' * 300_000,
        "sig=()" + "(" * 300_000,
        "sig=();created=" + "1" * 300_000,
    ],
    ids=len,
)
def test_huge_input_is_refused_unread(bomb: str) -> None:
    with pytest.raises(InvalidSignatureInput, match="too long"):
        verify(signed() | {"Signature-Input": bomb})
    with pytest.raises(SignatureError):
        verify(signed() | {"Signature-Input": bomb[:SIGNED_CHARS_MAX]})


def test_reprs_show_no_signature() -> None:
    headers = sign_request(KEY, key_id=KEY_ID, created=NOW, method="GET", target_uri="ws://x/", host="x")
    assert headers.signature not in repr(headers)
    verified = verify(signed())
    assert str(verified.signature) not in repr(verified)
