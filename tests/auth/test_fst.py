"""Federation subscribe tokens and the domains they are bound to (docs/tokens.md 9.6 and 10)."""

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.auth import (
    ExpiredFst,
    FstError,
    FstKeys,
    InvalidFst,
    b64url_decode,
    canonicalize_domain,
    derive_fst_key,
    fst_expiry,
    fst_leaf_tag,
    ucan_cid,
)
from tests.auth.minting import NOW
from tests.auth.vectors import auth_vectors, names

FST = auth_vectors()["fst"]
SPACE = UUID("aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa")
PEER = "peer.example.com"
KEYS = FstKeys(derive_fst_key("a secret of at least 32 characters"))
CID = ucan_cid("leaf")
TOKEN = KEYS.make(
    space_id=SPACE, peer_domain=PEER, expires_at=NOW + 60, nonce=b"12345678", leaf_tag=fst_leaf_tag(CID)
)


@pytest.mark.parametrize("case", FST["key_derivation"], ids=lambda case: case["secret"])
def test_key_of_the_vectors_is_derived(case: dict[str, str]) -> None:
    assert derive_fst_key(case["secret"]).hex() == case["key_hex"]


@pytest.mark.parametrize("case", FST["canonicalize_domain"], ids=lambda case: repr(case["domain"]))
def test_domain_of_the_vectors_becomes_canonical(case: dict[str, str]) -> None:
    assert canonicalize_domain(case["domain"]) == case["canonical"]


@pytest.mark.parametrize("case", FST["expiry"], ids=lambda case: f"cap {case['cap']}")
def test_expiry_of_the_vectors_is_capped(case: dict[str, Any]) -> None:
    assert fst_expiry(now=case["now"], cap=case["cap"]) == case["expires_at"]


@pytest.mark.parametrize("case", FST["layout"], ids=lambda case: case["peer_domain"])
def test_token_of_the_vectors_is_made_again(case: dict[str, Any]) -> None:
    nonce = bytes.fromhex(case["nonce_hex"])
    token = FstKeys(derive_fst_key(case["secret"])).make(
        space_id=UUID(case["space_id"]),
        peer_domain=case["peer_domain"],
        expires_at=case["expires_at"],
        nonce=nonce[:8],
        leaf_tag=nonce[8:],
    )
    assert token == case["token"]
    assert b64url_decode(token).hex() == case["bytes_hex"]


@pytest.mark.parametrize("case", FST["verify"], ids=names(FST["verify"]))
def test_token_of_the_vectors_is_judged_as_stated(case: dict[str, Any]) -> None:
    previous = case["previous_secret"]
    keys = FstKeys(
        derive_fst_key(case["primary_secret"]), None if previous is None else derive_fst_key(previous)
    )
    expected = case["expect"]
    if "error" not in expected:
        claims = keys.verify(case["token"], peer_domain=case["peer_domain"], now=case["now"])
        assert (str(claims.space_id), claims.expires_at) == (expected["space_id"], expected["expires_at"])
        return
    with pytest.raises(FstError) as caught:
        keys.verify(case["token"], peer_domain=case["peer_domain"], now=case["now"])
    kinds = {"InvalidToken": InvalidFst, "ExpiredToken": ExpiredFst}
    assert type(caught.value) is kinds[expected["error"]]
    assert str(caught.value) == FST["errors"][expected["error"]]


def test_token_lives_a_day_or_less() -> None:
    assert fst_expiry(now=NOW + 0.9, cap=None) == NOW + 86_400
    assert fst_expiry(now=NOW, cap=None, life_s_max=60) == NOW + 60
    assert fst_expiry(now=NOW, cap=2**64 - 1) == NOW + 86_400
    assert fst_expiry(now=NOW, cap=NOW - 5) == NOW - 5


def test_token_round_trips_and_is_good_to_the_very_instant() -> None:
    assert len(TOKEN) == 140
    claims = KEYS.verify(TOKEN, peer_domain=PEER, now=NOW + 60)
    assert (claims.space_id, claims.expires_at) == (SPACE, NOW + 60)
    with pytest.raises(ExpiredFst):
        KEYS.verify(TOKEN, peer_domain=PEER, now=NOW + 60.001)


def test_tokens_for_the_same_input_differ_by_their_nonce() -> None:
    other = KEYS.make(
        space_id=SPACE, peer_domain=PEER, expires_at=NOW + 60, nonce=b"87654321", leaf_tag=fst_leaf_tag(CID)
    )
    assert other != TOKEN


def test_token_tells_that_the_ucan_behind_it_is_revoked() -> None:
    claims = KEYS.verify(TOKEN, peer_domain=PEER, now=NOW)
    assert claims.is_revoked_by([ucan_cid("other"), CID])
    assert not claims.is_revoked_by([])
    assert not claims.is_revoked_by([ucan_cid("other"), CID.upper(), "\u00e9", ""])


def test_renewal_keeps_the_tag_over_a_change_of_secret() -> None:
    new = FstKeys(derive_fst_key("another secret of 32 characters!"), KEYS.primary)
    old_claims = new.verify(TOKEN, peer_domain=PEER, now=NOW)
    renewed = new.make(
        space_id=SPACE,
        peer_domain=PEER,
        expires_at=fst_expiry(now=NOW, cap=old_claims.expires_at),
        nonce=b"abcdefgh",
        leaf_tag=old_claims.leaf_tag,
    )
    claims = FstKeys(new.primary).verify(renewed, peer_domain=PEER, now=NOW)
    assert claims.expires_at == old_claims.expires_at
    assert claims.is_revoked_by([CID])


def test_verdict_of_the_previous_key_counts_where_there_is_one() -> None:
    with pytest.raises(ExpiredFst):
        KEYS.verify(TOKEN, peer_domain=PEER, now=NOW + 61)
    with pytest.raises(InvalidFst):
        FstKeys(KEYS.primary, bytes(32)).verify(TOKEN, peer_domain=PEER, now=NOW + 61)
    with pytest.raises(ExpiredFst):
        FstKeys(bytes(32), KEYS.primary).verify(TOKEN, peer_domain=PEER, now=NOW + 61)


def test_no_flip_of_any_bit_is_accepted() -> None:
    for position, character in enumerate(TOKEN):
        for bit in range(7):
            flipped = TOKEN[:position] + chr(ord(character) ^ 1 << bit) + TOKEN[position + 1 :]
            with pytest.raises(InvalidFst):
                KEYS.verify(flipped, peer_domain=PEER, now=NOW)


@given(st.text(max_size=150) | st.text(alphabet="AQ_-", min_size=140, max_size=140))
def test_no_text_raises_anything_but_fst_errors(token: str) -> None:
    with pytest.raises(FstError):
        KEYS.verify(token, peer_domain=PEER, now=NOW)


@given(st.text(max_size=40))
def test_no_domain_raises(domain: str) -> None:
    canonical = canonicalize_domain(domain)
    assert "/" not in canonical
    assert not canonical.endswith(":443")
    with pytest.raises(InvalidFst):
        KEYS.verify(TOKEN, peer_domain="x" + domain, now=NOW)


def test_keys_are_not_shown() -> None:
    assert repr(FstKeys(b"k" * 32, b"p" * 32)) == "FstKeys()"
