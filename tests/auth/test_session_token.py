"""Session tokens (docs/tokens.md 8)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    InvalidKeyLength,
    InvalidPermission,
    InvalidSession,
    Permission,
    SessionError,
    SessionExpired,
    SessionTokens,
)
from less_sync.auth import errors as auth_errors
from tests.auth.minting import NOW
from tests.auth.vectors import auth_vectors, names

SESSION = auth_vectors()["session_token"]
SPACE = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
TOKENS = SessionTokens(bytes(range(32)), ttl_s=900)
TOKEN = TOKENS.make(space_id=SPACE, permission=Permission.WRITE, nonce=bytes(16), now=NOW)


@pytest.mark.parametrize("case", SESSION["verify"], ids=names(SESSION["verify"]))
def test_token_of_the_vectors_is_judged_as_stated(case: dict[str, Any]) -> None:
    tokens = SessionTokens(bytes.fromhex(case["key_hex"]))
    expected = case["expect"]
    token = bytes.fromhex(case["token_hex"])
    if "error" not in expected:
        claims = tokens.verify(token, space_id=case["space_id"], now=case["now"])
        assert (claims.permission, claims.expires_at) == (expected["permission"], expected["expires_at"])
        return
    with pytest.raises(SessionError) as caught:
        tokens.verify(token, space_id=case["space_id"], now=case["now"])
    kind = expected["error"]
    assert type(caught.value) is getattr(auth_errors, kind)
    assert str(caught.value).startswith(SESSION["errors"][kind].partition("{")[0])


def test_good_tokens_of_the_vectors_are_made_again() -> None:
    for case in SESSION["verify"][:3]:
        token = bytes.fromhex(case["token_hex"])
        made = SessionTokens(bytes.fromhex(case["key_hex"]), ttl_s=900).make(
            space_id=case["space_id"],
            permission=Permission(case["expect"]["permission"]),
            nonce=token[10:26],
            now=case["now"] + 0.9,
        )
        assert made[:26] == token[:26]
        assert made == token


def test_token_round_trips() -> None:
    assert len(TOKEN) == 58
    for permission in Permission:
        token = TOKENS.make(space_id=SPACE, permission=permission, nonce=bytes(16), now=NOW)
        claims = TOKENS.verify(token, space_id=SPACE, now=NOW)
        assert (claims.permission, claims.expires_at) == (permission, NOW + 900)
    assert TOKENS.ttl_s == 900


def test_token_is_good_to_the_very_instant_of_its_expiry() -> None:
    assert TOKENS.verify(TOKEN, space_id=SPACE, now=NOW + 900)
    with pytest.raises(SessionExpired):
        TOKENS.verify(TOKEN, space_id=SPACE, now=NOW + 900.001)


def test_token_of_another_space_or_key_is_invalid() -> None:
    with pytest.raises(InvalidSession):
        TOKENS.verify(TOKEN, space_id=SPACE.upper(), now=NOW)
    with pytest.raises(InvalidSession):
        SessionTokens(bytes(32)).verify(TOKEN, space_id=SPACE, now=NOW)


def test_no_flip_of_any_bit_is_accepted() -> None:
    for position in range(len(TOKEN) * 8):
        flipped = bytearray(TOKEN)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(InvalidSession):
            TOKENS.verify(bytes(flipped), space_id=SPACE, now=NOW)


@given(st.binary(max_size=70))
def test_no_bytes_raise_anything_but_session_errors(token: bytes) -> None:
    with pytest.raises(SessionError):
        TOKENS.verify(token, space_id=SPACE, now=NOW)


@pytest.mark.parametrize("length", [0, 5, 31, 33])
def test_key_must_have_32_bytes(length: int) -> None:
    with pytest.raises(InvalidKeyLength) as caught:
        SessionTokens(bytes(length))
    assert str(caught.value) == f"session HMAC key must be 32 bytes, got {length}"


def test_permission_is_looked_at_after_the_expiry() -> None:
    case = next(case for case in SESSION["verify"] if case["name"] == "permission 4 with a right mac")
    tokens = SessionTokens(bytes.fromhex(case["key_hex"]))
    token = bytes.fromhex(case["token_hex"])
    with pytest.raises(InvalidPermission) as caught:
        tokens.verify(token, space_id=case["space_id"], now=case["now"])
    assert str(caught.value) == "invalid session permission: unknown permission value 4"
    with pytest.raises(SessionExpired):
        tokens.verify(token, space_id=case["space_id"], now=case["now"] + 10_000)


def test_key_is_not_shown() -> None:
    assert repr(SessionTokens(b"k" * 32)) == "SessionTokens(ttl_s=900.0)"
