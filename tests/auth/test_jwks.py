"""Key sets and the decisions of the key cache (docs/tokens.md 4.3 and 4.4)."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    JWKS_BYTES_MAX,
    JwksPolicy,
    KeyCache,
    KeyDecision,
    MalformedText,
    b64url_decode,
    b64url_encode,
    parse_jwk,
    parse_jwks,
)
from less_sync.auth.jwks import KEYS_MAX
from tests.auth.minting import Issuer, without
from tests.auth.test_tokens import JSON_VALUES
from tests.auth.vectors import auth_vectors, names, p256_key

JWKS = auth_vectors()["jwt"]["parse_jwk"]
POLICY = JwksPolicy(ttl_s=100, stale_max_s=1000, forced_fetches=5, forced_refill_s=10)
ISSUER = Issuer()
GOOD = ISSUER.jwk()


def document(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


@pytest.mark.parametrize("case", JWKS, ids=names(JWKS))
def test_entry_of_the_vectors_is_used_or_skipped_as_stated(case: dict[str, Any]) -> None:
    parsed = parse_jwk(case["jwk"])
    assert (parsed is not None) is (case["expect"] == "ok")
    if parsed is not None:
        assert isinstance(parsed[1], ec.EllipticCurvePublicKey)
        numbers = parsed[1].public_numbers()
        assert parsed[0] == case["jwk"]["kid"]
        assert numbers.x == int.from_bytes(b64url_decode(case["jwk"]["x"]), "big")
        assert numbers.y == int.from_bytes(b64url_decode(case["jwk"]["y"]), "big")


def test_example_key_of_rfc_7517_is_read() -> None:
    entry = {
        "kty": "EC",
        "crv": "P-256",
        "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
        "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
        "kid": "1",
    }
    parsed = parse_jwk(entry)
    assert parsed is not None
    assert parse_jwk(entry | {"use": "enc"}) is None


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        "key",
        {},
        *(without(GOOD, name) for name in ("kty", "crv", "x", "y", "kid")),
        *(GOOD | {name: None} for name in GOOD),
        *(GOOD | {name: 1} for name in GOOD),
        GOOD | {"kid": "\ud800"},
        GOOD | {"x": ""},
        GOOD | {"x": GOOD["y"], "y": GOOD["x"]},
        GOOD | {"x": b64url_encode(b"\xff" * 32)},
        GOOD | {"x": b64url_encode(bytes(32)), "y": b64url_encode(bytes(32))},
    ],
)
def test_entry_that_names_no_p256_signing_key_is_skipped(entry: object) -> None:
    assert parse_jwk(entry) is None
    assert set(parse_jwks(document(entry, GOOD))) == {"1"}


def test_entry_with_a_leading_zero_stripped_verifies_like_the_padded_one() -> None:
    key = p256_key("issuer-short-x").public_key()
    numbers = key.public_numbers()
    stripped = GOOD | {
        "x": b64url_encode(numbers.x.to_bytes(31, "big")),
        "y": b64url_encode(numbers.y.to_bytes(32, "big")),
    }
    parsed = parse_jwk(stripped)
    assert parsed is not None
    assert parsed[1] == key


def test_mixed_set_serves_its_good_keys() -> None:
    rsa = {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "alg": "RS256", "use": "sig"}
    okp = {"kty": "OKP", "crv": "Ed25519", "x": "AA", "kid": "e"}
    other = Issuer(kid="2")
    assert set(parse_jwks(document(rsa, GOOD, okp, {}, other.jwk(), 7))) == {"1", "2"}


def test_last_usable_entry_of_a_key_id_wins() -> None:
    other = Issuer(kid="1")
    keys = parse_jwks(document(GOOD, other.jwk(), other.jwk(kty="RSA")))
    assert keys["1"] == other.key.public_key()


def test_keys_beyond_the_cap_are_not_used_but_may_replace() -> None:
    other = Issuer(kid="0")
    entries = [GOOD | {"kid": str(number)} for number in range(KEYS_MAX + 1)]
    keys = parse_jwks(document(*entries, other.jwk()))
    assert len(keys) == KEYS_MAX
    assert str(KEYS_MAX) not in keys
    assert keys["0"] == other.key.public_key()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":null}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
        b'{"keys":[}',
        b"<html>",
    ],
)
def test_document_that_is_no_key_set_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedText):
        parse_jwks(body)


def test_document_may_have_a_mebibyte_and_not_a_byte_more() -> None:
    body = document(GOOD)
    assert set(parse_jwks(body.ljust(JWKS_BYTES_MAX))) == {"1"}
    with pytest.raises(MalformedText):
        parse_jwks(body.ljust(JWKS_BYTES_MAX + 1))


@given(st.dictionaries(st.sampled_from([*GOOD, "x5c"]), JSON_VALUES, max_size=4))
def test_no_entry_raises(members: dict[str, Any]) -> None:
    parsed = parse_jwk(GOOD | members)
    assert parsed is None or isinstance(parsed[1], ec.EllipticCurvePublicKey)


FRESH = KeyCache().after_success(ISSUER.keys, 0)


def test_nothing_cached_means_a_fetch() -> None:
    assert KeyCache().decide("1", POLICY, 0) is KeyDecision.FETCH
    assert KeyCache().usable_key("1", POLICY, 0) is None


@pytest.mark.parametrize(
    ("age_s", "decision"),
    [
        (0, KeyDecision.USE),
        (100, KeyDecision.USE),
        (100.1, KeyDecision.REFRESH_BEHIND),
        (200, KeyDecision.REFRESH_BEHIND),
        (200.1, KeyDecision.REFRESH_FIRST),
        (1000, KeyDecision.REFRESH_FIRST),
        (1000.1, KeyDecision.FETCH),
    ],
)
def test_age_of_the_set_decides_about_a_known_key(age_s: float, decision: KeyDecision) -> None:
    assert FRESH.decide("1", POLICY, age_s) is decision
    assert (FRESH.usable_key("1", POLICY, age_s) is not None) is (age_s <= 1000)


def test_unknown_key_forces_a_fetch_of_a_fresh_set() -> None:
    assert FRESH.decide("2", POLICY, 0) is KeyDecision.FETCH


def test_bucket_allows_five_forced_fetches_and_then_one_each_ten_seconds() -> None:
    cache = FRESH
    for _ in range(5):
        assert cache.decide("2", POLICY, 0) is KeyDecision.FETCH
        cache = cache.after_forced_start(POLICY, 0).after_success(ISSUER.keys, 0)
    assert cache.decide("2", POLICY, 0) is KeyDecision.UNKNOWN
    assert cache.decide("2", POLICY, 9.9) is KeyDecision.UNKNOWN
    assert cache.decide("2", POLICY, 10) is KeyDecision.FETCH
    cache = cache.after_forced_start(POLICY, 10)
    assert cache.decide("2", POLICY, 19.9) is KeyDecision.UNKNOWN
    assert cache.decide("1", POLICY, 19.9) is KeyDecision.USE
    later = [cache := cache.after_forced_start(POLICY, 500) for _ in range(5)]
    assert [spent.decide("2", POLICY, 500) for spent in later][-2:] == [
        KeyDecision.FETCH,
        KeyDecision.UNKNOWN,
    ]


def test_empty_bucket_after_a_failure_means_unavailable() -> None:
    cache = KeyCache()
    for _ in range(5):
        cache = cache.after_forced_start(POLICY, 0).after_failure(0)
    assert cache.decide("1", POLICY, 1) is KeyDecision.UNAVAILABLE
    assert cache.settle() is KeyDecision.UNAVAILABLE
    assert cache.after_success({}, 2).settle() is KeyDecision.UNKNOWN
    assert KeyCache().settle() is KeyDecision.UNAVAILABLE


def test_failed_refreshes_are_retried_after_1_2_4_and_at_most_30_seconds() -> None:
    cache = FRESH
    now = 150.0
    for wait in (1, 2, 4, 8, 16, 30, 30, 30):
        assert cache.decide("1", POLICY, now) is KeyDecision.REFRESH_BEHIND
        cache = cache.after_failure(now)
        assert cache.decide("1", POLICY, now + wait - 0.01) is KeyDecision.USE
        # Only the wait is looked at here, so the set's age stays where it is.
        assert cache.decide("1", JwksPolicy(ttl_s=100), now + wait) is not KeyDecision.USE
        now = 150.0
        cache = KeyCache(keys=cache.keys, fetched_at_s=0, failures=cache.failures, failed_at_s=now - wait)


def test_backoff_of_many_failures_does_not_overflow() -> None:
    cache = KeyCache(keys=ISSUER.keys, fetched_at_s=0, failures=10_000, failed_at_s=150)
    assert cache.decide("1", POLICY, 179) is KeyDecision.USE
    assert cache.decide("1", POLICY, 180) is KeyDecision.REFRESH_BEHIND


def test_success_forgets_failures_and_replaces_the_whole_set() -> None:
    other = Issuer(kid="2")
    cache = FRESH.after_failure(150).after_failure(151).after_success(other.keys, 160)
    assert cache.failures == 0
    assert cache.usable_key("1", POLICY, 160) is None
    assert cache.usable_key("2", POLICY, 160) == other.key.public_key()


def test_failure_leaves_keys_and_their_age() -> None:
    cache = FRESH.after_failure(50)
    assert (cache.keys, cache.fetched_at_s) == (FRESH.keys, 0)


def test_cache_shows_no_keys() -> None:
    assert "keys" not in repr(FRESH)


def test_an_empty_bucket_says_when_the_next_fetch_may_begin() -> None:
    policy = JwksPolicy(forced_fetches=2, forced_refill_s=10)
    cache = KeyCache()
    assert (cache.ever_fetched, cache.forced_in_s(policy, 0)) == (False, 0)
    cache = cache.after_success({}, 0).after_forced_start(policy, 0)
    assert (cache.ever_fetched, cache.forced_in_s(policy, 0)) == (True, 0)
    cache = cache.after_forced_start(policy, 0)
    assert [round(cache.forced_in_s(policy, now_s), 6) for now_s in (0, 4, 10, 11)] == [10, 6, 0, 0]
    assert cache.decide("x", policy, 9.9) is KeyDecision.UNKNOWN
    assert cache.decide("x", policy, 10) is KeyDecision.FETCH
