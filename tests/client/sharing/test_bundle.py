"""Bundles: for one person, by one author, in one piece."""

from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from less_sync.auth import Permission, UcanError, delegate, encode_did_key, parse_ucan
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.shared import LogPlace, SharedSpace
from less_sync.client.sharing.bundle import (
    PREFIX,
    NotForUs,
    bundled_ucan,
    make_bundle,
    open_bundle,
    open_sealed,
    seal_for,
    sign,
    verified,
)
from less_sync.client.sharing.person import Person

SPACE = UUID("3c36a3a8-6a0c-4d5c-9ab3-6a1f34a40f0e")
KEYS = {1: bytes(range(32)), 3: bytes(32)}
KIND = "less-sync-invite"


def person() -> Person:
    key = generate_private_key(SECP256R1())
    return Person(key, encode_did_key(key.public_key()))


ALICE, BOB, MALLORY = person(), person(), person()


def ucan(
    author: Person = ALICE,
    audience: Person = BOB,
    *,
    expires_at: int = 4_000_000_000,
    proof: str | None = None,
) -> str:
    return delegate(
        author.key,
        audience=audience.did,
        permission=Permission.WRITE,
        space_id=SPACE,
        expires_at=expires_at,
        nonce=bytes(16),
        proof=proof,
    )


SHARED = SharedSpace(space=SPACE, ucan=ucan(), keys=KEYS, log=LogPlace(7, bytes(32)))
BUNDLE = make_bundle(ucan(), SHARED, ALICE)


def test_a_bundle_opens_for_its_audience_alone() -> None:
    opened = open_bundle(f"  {BUNDLE}\n", BOB)
    assert (opened.space, opened.keys, opened.token.audience) == (SPACE, KEYS, BOB.did)
    assert opened.log == SHARED.log
    assert bundled_ucan(BUNDLE) == opened.ucan
    with pytest.raises(NotForUs):
        open_bundle(BUNDLE, MALLORY)
    assert not [key for key in KEYS.values() if key.hex() in repr(opened)]
    assert opened.ucan not in repr(opened)


def test_a_bundle_says_where_the_home_of_the_space_is_and_one_from_before_does_not() -> None:
    elsewhere = msgspec.structs.replace(SHARED, home="sync.example:8443")
    assert open_bundle(make_bundle(ucan(), elsewhere, ALICE), BOB).home == "sync.example:8443"
    assert open_bundle(BUNDLE, BOB).home == ""
    genuine = ucan()
    inner = {"space": str(SPACE), "cid": parse_ucan(genuine).cid, "keys": KEYS}
    outer = {"ucan": genuine, "jwe": seal_for(BOB.did, msgspec.json.encode(inner))}
    former = open_bundle(PREFIX + sign(msgspec.json.encode(outer), ALICE.key, kind=KIND), BOB)
    assert (former.home, former.keys) == ("", KEYS)


@settings(deadline=None)
@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_altered_bundle_is_ever_opened(position: int, flip: int) -> None:
    text = bytearray(BUNDLE.encode())
    place = position % len(text)
    text[place] ^= flip
    altered = text.decode("latin-1")
    # The last character of base64 has bits that carry nothing.
    if altered.strip() == BUNDLE or place == len(text) - 1:
        return
    with pytest.raises(UsageProblem):
        open_bundle(altered, BOB)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_whatever_is_given_as_a_bundle_is_refused_in_words(text: str) -> None:
    for candidate in (text, PREFIX + text, f"{PREFIX}{sign(text.encode(), ALICE.key, kind=KIND)}"):
        with pytest.raises(UsageProblem):
            open_bundle(candidate, BOB)


def test_an_invitation_that_is_good_for_nothing_is_said_to_be() -> None:
    for token, reason in (
        (ucan(expires_at=1_000_000_000), "link 1: has expired"),
        (ucan(proof=ucan(MALLORY, MALLORY)), "link 1: the proof was given to somebody else"),
    ):
        with pytest.raises(UsageProblem, match=reason):
            open_bundle(make_bundle(token, SHARED, ALICE), BOB)


def test_nobody_can_put_other_keys_under_a_genuine_ucan() -> None:
    genuine = ucan()
    inner = {"space": str(SPACE), "cid": parse_ucan(genuine).cid, "keys": {1: bytes(32)}}
    outer = {"ucan": genuine, "jwe": seal_for(BOB.did, msgspec.json.encode(inner))}
    forged = PREFIX + sign(msgspec.json.encode(outer), MALLORY.key, kind=KIND)
    with pytest.raises(UsageProblem):
        open_bundle(forged, BOB)


def test_a_bundle_with_a_key_of_no_epoch_is_damaged() -> None:
    for epoch in (0, 2**31):
        shared = msgspec.structs.replace(SHARED, keys={**KEYS, epoch: bytes(32)})
        with pytest.raises(UsageProblem, match="damaged"):
            open_bundle(make_bundle(ucan(), shared, ALICE), BOB)


@pytest.mark.parametrize(
    ("said", "otherwise"),
    [
        ('"keys":{', '"keys":{"1":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",'),
        ('"cid":', '"cid":"x","cid":'),
        ("8=", "9="),
        ('"entries":7', '"entries":-7'),
        ('"entries":7', '"entries":9007199254740992'),
        ('"entries":7', '"entries":0'),
    ],
)
def test_a_bundle_that_another_client_would_read_otherwise_is_damaged(said: str, otherwise: str) -> None:
    genuine = ucan()
    log = {"entries": 7, "digest": bytes(32)}
    inner = {"space": str(SPACE), "cid": parse_ucan(genuine).cid, "keys": KEYS, "log": log}
    text = msgspec.json.encode(inner).decode()
    for one, opens in ((text, True), (text.replace(said, otherwise, 1), False)):
        outer = {"ucan": genuine, "jwe": seal_for(BOB.did, one.encode())}
        bundle = PREFIX + sign(msgspec.json.encode(outer), ALICE.key, kind=KIND)
        if opens:
            assert open_bundle(bundle, BOB).keys == KEYS
            continue
        with pytest.raises(UsageProblem, match="damaged"):
            open_bundle(bundle, BOB)


def test_more_keys_than_a_reader_opens_are_not_bundled() -> None:
    shared = msgspec.structs.replace(SHARED, keys=dict.fromkeys(range(1, 1001), bytes(32)))
    with pytest.raises(UsageProblem, match="too large"):
        make_bundle(ucan(), shared, ALICE)


@pytest.mark.parametrize(
    "changes",
    [
        {"space": str(UUID(int=7))},
        {"cid": "00" * 32},
        {"keys": {}},
        {"keys": {0: bytes(32)}},
        {"keys": {1: b""}},
        {"home": "evil.example/\x1b[2J"},
        {"home": "user@sync.example"},
        {"home": "a" * 300},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_keys_must_belong_to_the_ucan_beside_them(changes: dict[str, object]) -> None:
    genuine = ucan()
    inner = {"space": str(SPACE), "cid": parse_ucan(genuine).cid, "keys": KEYS} | changes
    outer = {"ucan": genuine, "jwe": seal_for(BOB.did, msgspec.json.encode(inner))}
    with pytest.raises(UsageProblem):
        open_bundle(PREFIX + sign(msgspec.json.encode(outer), ALICE.key, kind=KIND), BOB)


def test_a_signature_for_one_purpose_is_none_for_another() -> None:
    signed = sign(b"payload", ALICE.key, kind=KIND)
    assert verified(signed, ALICE.did, kind=KIND) == b"payload"
    assert verified(signed, ALICE.did, kind="other") is None
    assert verified(signed, BOB.did, kind=KIND) is None
    assert verified(signed, "did:key:z", kind=KIND) is None
    with pytest.raises(UcanError):
        parse_ucan(signed)


@settings(deadline=None)
@given(st.one_of(st.text(max_size=100), st.sampled_from([BUNDLE, "a.b.c.d.e", "e30.e30.e30.e30.e30"])))
def test_what_is_sealed_for_somebody_else_is_none(text: str) -> None:
    assert open_sealed(text, BOB) is None


def test_a_seal_opens_for_one_key() -> None:
    sealed = seal_for(BOB.did, b"secret")
    assert open_sealed(sealed, BOB) == b"secret"
    assert open_sealed(sealed, ALICE) is None
