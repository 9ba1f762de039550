"""Key ids, trusted servers and their identity (docs/tokens.md 9.5, 9.7, 9.8 and 9.9)."""

from typing import Any
from uuid import NAMESPACE_DNS, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from less_sync.auth import (
    FederationTrust,
    Identity,
    InvalidKeyId,
    SignatureError,
    SignatureUses,
    SignedRequest,
    UntrustedPeer,
    VerificationFailed,
    authenticate_peer,
    b64url_decode,
    b64url_encode,
    canonicalize_domain,
    key_id_domain,
    parse_federation_trust,
    peer_identity,
    sign_request,
    split_key_id,
)
from tests.auth.minting import NOW
from tests.auth.vectors import auth_vectors, names

HTTP = auth_vectors()["http_signature"]
TRUST = auth_vectors()["config"]["federation_trust"]
KEYS = {key_id: b64url_decode(key) for key_id, key in HTTP["keys_by_id"].items()}
CASES = {case["name"]: case for case in HTTP["verify"]}
KEY = SigningKey(bytes(range(32)))
KEY_TEXT = b64url_encode(bytes(KEY.verify_key))


def request_of(case: dict[str, Any]) -> SignedRequest:
    request = case["request"]
    return SignedRequest.of(
        method=request["method"], target=request["target"], headers=request["headers"].items()
    )


def signed_by(key_id: str) -> SignedRequest:
    headers = sign_request(KEY, key_id=key_id, created=NOW, method="GET", target_uri="ws://us/", host="us")
    lines = [("Host", "us"), ("Signature-Input", headers.signature_input), ("Signature", headers.signature)]
    return SignedRequest.of(method="GET", target="/", headers=lines)


@pytest.mark.parametrize("case", HTTP["keyid_domain"], ids=lambda case: repr(case["key_id"]))
def test_key_id_of_the_vectors_has_the_domain_stated(case: dict[str, Any]) -> None:
    if case["expect"] != {"error": "InvalidKeyId"}:
        assert key_id_domain(case["key_id"]) == case["expect"]
        return
    with pytest.raises(InvalidKeyId) as caught:
        key_id_domain(case["key_id"])
    assert str(caught.value).startswith("invalid keyid: ")


@pytest.mark.parametrize(
    ("key_id", "detail"),
    [
        ("ftp://a/x#k", "keyid must use http(s) scheme"),
        ("a/x#k", "keyid must use http(s) scheme"),
        ("#k", "keyid must use http(s) scheme"),
        ("https://u@a/x#k", "keyid must not contain userinfo"),
        ("https:///x#k", "keyid has no host"),
        ("https:a#k", "keyid has no host"),
        ("https://.a/x#k", "keyid has no host"),
        ("https://a_b!/x#k", "keyid has no host"),
        ("https://:443/x#k", "keyid has no host"),
        ("https://[::1%25eth0]/x#k", "keyid has no host"),
        ("https://[v1.x]/x#k", "keyid has no host"),
        ("https://[::1/x#k", "keyid is not a URL"),
        ("https://a:70000/x#k", "keyid is not a URL"),
        ("https://a\t.b/x#k", "keyid is not a URL"),
        ("https://m\u00fcnchen.example/x#k", "keyid is not a URL"),
    ],
)
def test_key_id_that_names_no_server_says_why(key_id: str, detail: str) -> None:
    with pytest.raises(InvalidKeyId) as caught:
        key_id_domain(key_id)
    assert str(caught.value) == f"invalid keyid: {detail}"


@pytest.mark.parametrize("case", HTTP["keyid_split"], ids=lambda case: case["key_id"])
def test_key_id_of_the_vectors_splits_at_its_last_fragment(case: dict[str, str]) -> None:
    if "error" not in case:
        assert split_key_id(case["key_id"]) == (case["jwks_url"], case["kid"])
        return
    with pytest.raises(InvalidKeyId) as caught:
        split_key_id(case["key_id"])
    assert str(caught.value) == f'invalid keyid: keyid "{case["key_id"]}" has no fragment'


@given(st.text(max_size=40) | st.text(max_size=30).map("https://".__add__))
def test_no_key_id_raises_anything_but_its_error(key_id: str) -> None:
    try:
        domain = key_id_domain(key_id)
    except InvalidKeyId:
        return
    assert domain
    assert domain == canonicalize_domain(domain) or domain.endswith(".") or ":" in domain


@pytest.mark.parametrize("case", HTTP["authenticate"], ids=names(HTTP["authenticate"]))
def test_peer_of_the_vectors_is_identified_or_refused(case: dict[str, Any]) -> None:
    domains = tuple(canonicalize_domain(domain) for domain in case["trusted_domains"])
    request = request_of(CASES[case["verify_case"]])
    expected = case["expect"]
    if "status" not in expected:
        identity = authenticate_peer(request, FederationTrust(domains, KEYS), now=NOW)
        assert {name: getattr(identity, name) for name in expected} == expected
        return
    kind: type[Exception] = {401: SignatureError, 403: UntrustedPeer}[expected["status"]]
    with pytest.raises(kind):
        authenticate_peer(request, FederationTrust(domains, KEYS), now=NOW)


def test_key_whose_id_names_no_server_is_refused_after_the_signature() -> None:
    key_id = "peer#fed-1"
    trust = FederationTrust(("peer",), {key_id: bytes(KEY.verify_key)})
    with pytest.raises(InvalidKeyId):
        authenticate_peer(signed_by(key_id), trust, now=NOW)
    with pytest.raises(SignatureError):
        authenticate_peer(signed_by(key_id), FederationTrust(("peer",), {key_id: bytes(32)}), now=NOW)


@pytest.mark.parametrize(
    "case", auth_vectors()["space_id"]["federation_peer"], ids=lambda case: case["peer_domain"]
)
def test_personal_space_of_a_peer_matches_the_vector(case: dict[str, str]) -> None:
    identity = peer_identity(canonicalize_domain(case["peer_domain"]))
    assert identity.personal_space_id == str(identity.personal_space) == case["personal_space_id"]


def test_peer_has_the_identity_of_its_domain() -> None:
    space = uuid5(NAMESPACE_DNS, "federation:peer.example.com")
    assert peer_identity("peer.example.com") == Identity(
        issuer="https://peer.example.com",
        user_id="federation:peer.example.com",
        client_id="federation:peer.example.com",
        personal_space_id=str(space),
        did="did:web:peer.example.com",
        mailbox_id="federation:peer.example.com",
        scope="sync",
        personal_space=space,
    )


@pytest.mark.parametrize("case", TRUST, ids=lambda case: f"{case['domains']} {case['keys']}"[:60])
def test_trust_of_the_vectors_reads_as_stated(case: dict[str, Any]) -> None:
    if "error_contains" not in case:
        trust = parse_federation_trust(domains=case["domains"], keys=case["keys"])
        assert list(trust.domains) == case["trusted_domains"]
        assert list(trust.keys) == case["key_ids"]
        assert all(len(key) == 32 for key in trust.keys.values())
        return
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_federation_trust(domains=case["domains"], keys=case["keys"])
    assert case["error_contains"] in str(caught.value)


def test_trusted_domains_are_canonical_sorted_and_each_once() -> None:
    trust = parse_federation_trust(
        domains="b.example, A.example ,https://a.example:443/x, c.example.:443", keys=None
    )
    assert trust.domains == ("a.example", "b.example", "c.example")


def test_domains_come_from_the_keys_when_none_are_listed() -> None:
    keys = f"https://b.example/k#1={KEY_TEXT} https://a.example:8443/k#1={KEY_TEXT} https://a.example/k#2={KEY_TEXT}"
    assert parse_federation_trust(domains=" , ", keys=keys).domains == ("a.example", "b.example")


def test_repeated_key_id_keeps_the_last_key() -> None:
    other = b64url_encode(bytes(SigningKey(bytes(32)).verify_key))
    trust = parse_federation_trust(domains=None, keys=f"https://a/k#1={other}\nhttps://a/k#1={KEY_TEXT}")
    assert trust.keys == {"https://a/k#1": bytes(KEY.verify_key)}


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("https://a/k#1", 'invalid FEDERATION_TRUSTED_KEYS entry "https://a/k#1"'),
        ("a#1=AAAA", 'invalid federation key id "a#1"'),
        (
            f"https://a/k#1={KEY_TEXT}=",
            'invalid federation key payload for "https://a/k#1"',
        ),
        ("https://a/k#1=AAAA", 'federation key for "https://a/k#1" must be 32 bytes'),
        (f"https://a/k#1={'A' * 43}", 'invalid federation key bytes for "https://a/k#1"'),
        (
            f"https://a/k#1={b64url_encode(bytes([2]) + bytes(31))}",
            'invalid federation key bytes for "https://a/k#1"',
        ),
    ],
)
def test_wrong_key_entry_is_named(entry: str, text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        parse_federation_trust(domains=None, keys=entry)
    assert str(caught.value) == text


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_setting_raises_anything_but_value_errors(domains: str, keys: str) -> None:
    assert parse_federation_trust(domains=domains, keys=None).keys == {}
    if keys.strip():
        with pytest.raises(ValueError, match=r"invalid|must be"):
            parse_federation_trust(domains=domains, keys="x" + keys)


def test_signature_may_come_a_few_times_and_no_more() -> None:
    key_id = "https://peer.example/k#1"
    trust = FederationTrust(("peer.example",), {key_id: bytes(KEY.verify_key)})
    uses = SignatureUses()
    for _ in range(8):
        assert authenticate_peer(signed_by(key_id), trust, now=NOW, uses=uses)
    with pytest.raises(VerificationFailed):
        authenticate_peer(signed_by(key_id), trust, now=NOW, uses=uses)
    with pytest.raises(UntrustedPeer):
        authenticate_peer(signed_by(key_id), FederationTrust((), trust.keys), now=NOW, uses=uses)
    assert len(uses) == 1


def test_use_is_forgotten_when_the_signature_is_no_longer_good() -> None:
    uses = SignatureUses(uses_max=1, window_s=600)
    assert uses.allow(b"a", now=0)
    assert uses.allow(b"b", now=300)
    assert not uses.allow(b"a", now=600)
    assert uses.allow(b"a", now=600.1)
    assert not uses.allow(b"b", now=600.1)
    assert len(uses) == 2


def test_memory_of_uses_is_bounded() -> None:
    uses = SignatureUses(uses_max=1, entries_max=2)
    for signature in (b"a", b"b", b"c"):
        assert uses.allow(signature, now=0)
    assert len(uses) == 2
    assert uses.allow(b"a", now=0)
    assert not uses.allow(b"c", now=0)
