"""What is written in a membership log has one form: what not all clients would read, none does."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from less_sync.auth import b64url_decode, b64url_encode, decode_did_key
from less_sync.client.sharing.bundle import sign, unverified, verified
from less_sync.client.sharing.entries import EPOCH, Entry, key_check, open_entry, opened_key
from tests.client.sharing.members import Member, founder, new_person
from tests.client.sharing.odd_texts import headed, sealed_text

KIND = "less-sync-member"
KEY = bytes(range(32))


@pytest.fixture
def alice(tmp_path: Path) -> Member:
    return founder(tmp_path)


@pytest.mark.parametrize(
    "odd",
    [
        lambda text: text.replace(b'"at":', b'"at":1,"at":'),
        lambda text: text.replace(b'"v":2', b'"v":2.0'),
        lambda text: text.replace(b'"at":', b'"at":-'),
        lambda text: text.replace(b'"at":', b'"at":1e'),
        lambda text: text.replace(b'"at":', b'"at":9007199254740'),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b'"at":', b'"more":' + b"[" * 128 + b"]" * 128 + b',"at":'),
    ],
    ids=["a member twice", "a fraction", "a negative", "an exponent", "a large number", "a mark", "deep"],
)
def test_json_that_readers_differ_about_is_no_entry(alice: Member, odd: Callable[[bytes], bytes]) -> None:
    text = msgspec.json.encode(alice.entry("other"))
    shared = alice.shared
    for payload, counts in ((text, True), (odd(text), False)):
        sealed = sealed_text(sign(payload, alice.person.key, kind=KIND), shared.space, 1, shared.keys[1])
        assert (open_entry(sealed, shared.space, shared.keys) is not None) == counts


def test_a_signed_text_has_one_spelling_and_one_header() -> None:
    person = new_person()
    signed = sign(b"{}", person.key, kind=KIND)
    assert (verified(signed, person.did, kind=KIND), unverified(signed)) == (b"{}", b"{}")
    head, body, tail = signed.split(".")
    for other in (
        f"{head}.{body}=.{tail}",
        f"{head}.{body}.{tail}\n",
        f"{head}.{body}.{tail}.",
        f"{head}.{body}",
    ):
        assert verified(other, person.did, kind=KIND) is unverified(other) is None
    good = {"alg": "ES256", "typ": KIND}
    assert verified(headed(b"{}", person, good), person.did, kind=KIND) == b"{}"
    for header in (good | {"kid": "1"}, good | {"b64": False}, {"alg": "ES256"}, good | {"typ": "other"}):
        assert verified(headed(b"{}", person, header), person.did, kind=KIND) is None


def handed_out(alice: Member, sealed: str) -> Entry:
    return alice.entry(EPOCH, epoch=2, keys={alice.person.did: sealed}, check=key_check(KEY))


def test_a_key_is_sealed_in_one_form(alice: Member) -> None:
    good = alice.key_entry(2, KEY).keys[alice.person.did]
    assert opened_key(handed_out(alice, good), alice.person) == KEY
    header, *others = good.split(".")
    told = json.loads(b64url_decode(header))
    point = told["epk"]
    odd = [told | {"kid": "1"}, told | {"apu": "AAAA"}, told | {"epk": point | {"use": "enc"}}]
    odd += [told | {"epk": point | {"x": 7}}, told | {"epk": "x"}, {"alg": told["alg"], "enc": told["enc"]}]
    texts = [".".join((b64url_encode(json.dumps(one).encode()), *others)) for one in odd]
    for text in (*texts, f"{good}.", f"{good}=", "", "é....", os.urandom(8).hex()):
        assert opened_key(handed_out(alice, text), alice.person) is None


def test_a_key_that_is_compressed_or_spelled_otherwise_is_none(alice: Member) -> None:
    public = ECKey.import_key(decode_did_key(alice.person.did).key)
    space = str(alice.shared.space)
    text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    for key, zipped, opens in ((text, False, True), (text[:-2] + "9=", False, False), (text, True, False)):
        plain = json.dumps({"space": space, "epoch": 2, "key": key}).encode()
        header = {"alg": "ECDH-ES", "enc": "A256GCM"} | ({"zip": "DEF"} if zipped else {})
        algorithms = ["ECDH-ES", "A256GCM", *(["DEF"] if zipped else [])]
        sealed = jwe.encrypt_compact(header, plain, public, algorithms=algorithms)
        assert (opened_key(handed_out(alice, sealed), alice.person) == KEY) == opens
