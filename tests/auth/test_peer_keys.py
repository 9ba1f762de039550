"""Key sets of other servers, and when they are fetched (docs/federation.md 4.3)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from less_sync.auth import (
    PEER_JWKS_BYTES_MAX,
    MalformedText,
    PeerKeyCache,
    PeerKeyNeed,
    b64url_encode,
    parse_peer_keys,
)
from less_sync.auth.peer_keys import life_of

KEY = bytes(SigningKey(bytes(range(32))).verify_key)
OTHER = bytes(SigningKey(bytes(32)).verify_key)


def entry(kid: str = "k", key: bytes = KEY, **changes: Any) -> dict[str, Any]:
    base = {"kid": kid, "kty": "OKP", "alg": "EdDSA", "use": "federation", "crv": "Ed25519"}
    return {**base, "x": b64url_encode(key), **changes}


def document(*entries: object) -> bytes:
    return json.dumps({"keys": entries}).encode()


@pytest.mark.parametrize(
    "changes",
    [{}, {"use": "sig"}, {"x": b64url_encode(KEY) + "="}, {"further": [1]}, {"kid": "https://a/k#k"}],
)
def test_entry_that_may_be_used_is_read(changes: dict[str, Any]) -> None:
    assert list(parse_peer_keys(document(entry(**changes))).values()) == [KEY]


def test_algorithm_and_use_may_be_left_out() -> None:
    bare = {name: value for name, value in entry().items() if name not in ("alg", "use")}
    assert parse_peer_keys(document(bare)) == {"k": KEY}


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "EC"},
        {"crv": "X25519"},
        {"alg": "ES256"},
        {"alg": None},
        {"use": "enc"},
        {"use": None},
        {"kid": 1},
        {"kid": None},
        {"x": None},
        {"x": b64url_encode(KEY[:31])},
        {"x": b64url_encode(KEY) + "=="},
        {"x": b64url_encode(bytes(32))},
        {"x": b64url_encode(bytes([2]) + bytes(31))},
        {"x": "!"},
    ],
)
def test_entry_that_may_not_be_used_is_passed_over(changes: dict[str, Any]) -> None:
    assert parse_peer_keys(document(entry(**changes), "text", None, entry("good"))) == {"good": KEY}


def test_first_entry_of_a_name_counts() -> None:
    assert parse_peer_keys(document(entry(), entry(key=OTHER))) == {"k": KEY}


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"[]",
            b"{}",
            b'{"keys":{}}',
            b'{"keys":null}',
            b'{"keys":[]',
            b"\xff",
            b'{"keys":[],"keys":[]}',
        ),
        document(*[entry(str(number)) for number in range(65)]),
        document(entry()) + b" " * PEER_JWKS_BYTES_MAX,
    ],
)
def test_document_of_another_shape_or_size_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedText):
        parse_peer_keys(body)


def test_largest_document_is_read() -> None:
    body = document(*[entry(str(number)) for number in range(64)])
    assert len(parse_peer_keys(body + b" " * (PEER_JWKS_BYTES_MAX - len(body)))) == 64


@given(st.binary(max_size=200) | st.from_regex(rb'\{"keys":\[\{"kid":.{0,60}\}\]\}', fullmatch=True))
def test_no_document_raises_anything_but_its_error(body: bytes) -> None:
    with suppress(MalformedText):
        assert all(len(key) == 32 for key in parse_peer_keys(body).values())


@pytest.mark.parametrize(
    ("header", "life_s"),
    [
        ("", 3600),
        ("public, max-age=3600, stale-while-revalidate=86400", 3600),
        ("max-age=120", 120),
        ("Max-Age = 120 ,public", 120),
        ("max-age=0", 60),
        ("max-age=59", 60),
        ("max-age=999999999", 3600),
        ("s-max-age=70", 3600),
        ("max-age=x", 3600),
        ("max-age=-1", 3600),
        ("no-store", 3600),
    ],
)
def test_set_is_good_for_as_long_as_it_says_within_bounds(header: str, life_s: float) -> None:
    assert life_of(header) == life_s


NAMES = ("k", "https://a/k#k")
FRESH = PeerKeyCache().after_success({"other": OTHER, "k": KEY}, "max-age=600", 1000)


def test_key_is_found_by_its_name_and_by_the_whole_id_whichever_is_first() -> None:
    assert FRESH.key(NAMES, 1000) == KEY
    both = PeerKeyCache().after_success({"https://a/k#k": OTHER, "k": KEY}, "", 0)
    assert both.key(NAMES, 0) == OTHER
    assert FRESH.key(("?",), 1000) is None


def test_set_is_fetched_when_it_is_not_there_or_too_old() -> None:
    assert PeerKeyCache().need(NAMES, 0) is PeerKeyNeed.FETCH
    assert FRESH.need(NAMES, 1600) is PeerKeyNeed.NOTHING
    assert FRESH.need(NAMES, 1600.1) is PeerKeyNeed.FETCH


def test_unknown_key_causes_a_fetch_once_a_minute() -> None:
    assert FRESH.need(("new",), 1001) is PeerKeyNeed.FORCED_FETCH
    forced = FRESH.after_forced_start(1001).after_success({"k": KEY}, "", 1002)
    assert forced.need(("new",), 1060.9) is PeerKeyNeed.NOTHING
    assert forced.need(NAMES, 1060.9) is PeerKeyNeed.NOTHING
    assert forced.need(("new",), 1061) is PeerKeyNeed.FORCED_FETCH


def test_failure_is_remembered_and_old_keys_serve_for_a_day() -> None:
    failed = FRESH.after_failure(2000)
    assert failed.need(NAMES, 2029.9) is PeerKeyNeed.NOTHING
    assert failed.key(NAMES, 2029.9) == KEY
    assert failed.need(NAMES, 2030) is PeerKeyNeed.FETCH
    assert failed.key(NAMES, 1000 + 86_400) == KEY
    assert failed.key(NAMES, 1000 + 86_400.1) is None
    assert failed.after_success({}, "", 2030).need(NAMES, 2031) is PeerKeyNeed.FORCED_FETCH
