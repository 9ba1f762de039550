"""Both halves of tests/vectors/crypto.json are read by Python; JavaScript reads them in crypto.test.js."""

import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from less_sync.auth import (
    AuthError,
    b64url_decode,
    decode_did_key,
    encode_did_key,
    parse_chain,
    parse_ucan,
    ucan_cid,
    verify_did_proof,
)
from less_sync.client.folder.crypto import RecordCipher, SealedFile, SharedCipher, Undecryptable
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.keyfile import FolderKey, parse_key
from less_sync.client.folder.plaintext import (
    ForeignRecord,
    PlainContent,
    decode,
    encode_content,
    encode_file,
)
from less_sync.client.folder.stream import HEADER_BYTES, PartCipher, PartPlace, nonce_of
from less_sync.client.sharing.bundle import (
    open_bundle,
    open_sealed,
    seal_for,
    sign,
    unverified,
    verified,
)
from less_sync.client.sharing.entries import key_check, next_digest, open_entry, opened_key
from less_sync.client.sharing.presence import open_shown
from tests.crypto import PATH, document
from tests.crypto.half import code_of, verdict
from tests.crypto.inputs import CONTENT, EPOCH_KEYS, NOW_S, PERSONAL, SECRET, SHARED, person, seal_fixed
from tests.crypto.refused import signed

DOCS: Final = Path(__file__).parents[2] / "docs"
EXAMPLE: Final = re.compile(r"^\| .* \| `(/[^`]+)` \| `([^`]+)` \|$", re.MULTILINE)
VECTORS: Final = json.loads(PATH.read_text())
INPUTS: Final = VECTORS["inputs"]
REFUSED: Final = VECTORS["refused"]
CIPHERS: Final = {
    "personal": RecordCipher(FolderKey(SECRET), PERSONAL),
    "shared": SharedCipher({epoch: FolderKey(key) for epoch, key in EPOCH_KEYS.items()}, SHARED),
}

both_halves = pytest.mark.parametrize(
    "half", [VECTORS["python"], VECTORS["javascript"]], ids=["python", "javascript"]
)


def test_the_file_is_what_python_makes_but_for_the_half_of_javascript() -> None:
    assert document(VECTORS["javascript"]) == VECTORS, "python -m tests.crypto writes it anew"
    assert VECTORS["javascript"].keys() == VECTORS["python"].keys()


@both_halves
def test_a_key_text_is_read(half: dict[str, Any]) -> None:
    key = parse_key(half["key_text"]["text"])
    assert key == FolderKey(SECRET)
    assert (key.line(), key.fingerprint) == (half["key_text"]["text"], half["key_text"]["fingerprint"])


@both_halves
def test_derived_keys_open_what_they_are_for(half: dict[str, Any]) -> None:
    derived = VECTORS["derived"]
    for one in half["records"]:
        kek = bytes.fromhex(derived["kek"][one["space"]][str(one["epoch"])])
        key = aes_key_unwrap(kek, bytes.fromhex(one["dek"])[4:])
        assert one.get("key", key.hex()) == key.hex()
    for space, ids in half["record_ids"].items():
        id_key = bytes.fromhex(derived["record_id"][space])
        for path, record in ids.items():
            text = f"{INPUTS[space]['space']}\0{path}".encode()
            assert UUID(bytes=hmac.digest(id_key, text, "sha256")[:16]) == UUID(record)
    for payload, key in (
        (half["log"][0]["payload"], derived["log"]["1"]),
        (half["presence"]["data"], derived["presence"]["2"]),
    ):
        data = bytes.fromhex(payload)
        assert AESGCM(bytes.fromhex(key)).decrypt(data[5:17], data[17:], str(SHARED).encode())


@both_halves
def test_paths_have_the_same_record_ids(half: dict[str, Any]) -> None:
    for space, cipher in CIPHERS.items():
        found = {path: str(cipher.record_id(path)) for path in INPUTS["paths"]}
        assert found == half["record_ids"][space]


@both_halves
def test_records_of_every_kind_open(half: dict[str, Any]) -> None:
    assert len(half["records"]) == 2 * 2 * len(INPUTS["plaintexts"])
    for one in half["records"]:
        found = CIPHERS[one["space"]].read(UUID(one["id"]), sealed(one))
        plain = bytes.fromhex(INPUTS["plaintexts"][one["name"]]["plain"])
        assert found == decode(plain)
        assert int(one["dek"][:8], 16) == one["epoch"]
        if isinstance(found, PlainContent):
            assert encode_content(found) == plain
        elif found.version:
            assert encode_file(found) == plain


def sealed(one: dict[str, str]) -> SealedFile:
    """A record of the file."""
    return SealedFile(bytes.fromhex(one["blob"]), bytes.fromhex(one["dek"]))


@both_halves
def test_parts_open_and_seal_to_the_same_bytes(half: dict[str, Any]) -> None:
    for one in half["parts"]:
        plain = bytes(one["size"]) if one["plain"] == "zeros" else bytes.fromhex(one["plain"])
        dek = CIPHERS["personal"].unwrap(bytes.fromhex(one["dek"]))
        nonce = bytes.fromhex(one["nonce"])
        part = PartCipher(dek, nonce, PartPlace(PERSONAL, CONTENT, UUID(one["part"])), one["size"])
        starts = range(0, part.chunks * 2**20, 2**20)
        chunks = [part.seal(index, plain[at : at + 2**20]) for index, at in enumerate(starts)]
        whole = b"\x05" + nonce + b"".join(chunks)
        assert hashlib.sha256(whole).hexdigest() == one["sha256"]
        assert whole.hex() == one.get("sealed", whole.hex())
        assert b"".join(part.open(index, chunk) for index, chunk in enumerate(chunks)) == plain


@both_halves
def test_signed_and_sealed_texts_open_for_whom_they_are(half: dict[str, Any]) -> None:
    for one in half["jws"]:
        payload = bytes.fromhex(one["payload"])
        assert verified(one["text"], person(one["by"]).did, kind=one["typ"]) == payload
        assert unverified(one["text"]) == payload
        assert verified(one["text"], person("root").did, kind=one["typ"]) is None
        assert verified(one["text"], person(one["by"]).did, kind="another") is None
    for one in half["jwe"]:
        assert open_sealed(one["text"], person(one["to"])) == bytes.fromhex(one["plain"])
        assert open_sealed(one["text"], person("root")) is None


@both_halves
def test_tokens_have_their_cids_and_chains_their_verdicts(half: dict[str, Any]) -> None:
    for one in half["ucans"].values():
        token = parse_ucan(one["text"])
        assert (token.cid, token.twin_cid) == (one["cid"], one["twin_cid"])
        assert ucan_cid(one["text"]) == one["cid"]
        assert (token.issuer, token.audience) == (person(one["by"]).did, person(one["to"]).did)
        assert (token.command, token.expires_at) == (f"/space/{one['permission']}", INPUTS["expires_at"])
    for one in half["chains"]:
        assert verdict(half["ucans"][one["ucan"]]["text"], one) == one["refused"], one["name"]
    assert len(parse_chain(half["ucans"]["back"]["text"]).links) == 3


@both_halves
def test_a_bundle_opens_for_whom_it_was_made(half: dict[str, Any]) -> None:
    for one in half["bundles"]:
        opened, inner = open_bundle(one["text"], person(one["to"])), one["inner"]
        assert (opened.ucan, opened.token.issuer) == (one["ucan"], person(one["by"]).did)
        assert (str(opened.space), opened.token.cid, opened.home) == (
            inner["space"],
            inner["cid"],
            inner["home"],
        )
        assert {str(epoch): key.hex() for epoch, key in opened.keys.items()} == inner["keys"]
        assert (opened.log.entries, opened.log.digest.hex()) == tuple(inner["log"].values())
        with pytest.raises(UsageProblem):
            open_bundle(one["text"], person("root"))


@both_halves
def test_the_membership_log_opens_each_entry_on_top_of_those_before(half: dict[str, Any]) -> None:
    digest = b""
    for one in half["log"]:
        payload = bytes.fromhex(one["payload"])
        entry = open_entry(payload, SHARED, {one["epoch"]: EPOCH_KEYS[one["epoch"]]})
        assert entry is not None
        assert json.loads(msgspec.json.encode(entry)) == one["says"]
        assert entry.after == digest.hex()
        digest = next_digest(digest, hashlib.sha256(payload).digest())
        assert digest.hex() == one["digest"]
        if entry.keys:
            assert opened_key(entry, person("alice")) == opened_key(entry, person("bob")) == EPOCH_KEYS[2]
    assert half["key_checks"] == {str(epoch): key_check(key) for epoch, key in EPOCH_KEYS.items()}


@both_halves
def test_what_somebody_shows_opens_and_a_did_is_proven(half: dict[str, Any]) -> None:
    one = half["presence"]
    shown = open_shown(bytes.fromhex(one["data"]), SHARED, EPOCH_KEYS, now_s=NOW_S)
    assert json.loads(msgspec.json.encode(shown)) == one["says"]
    proof = half["did_proof"]
    assert verify_did_proof(proof["text"], proof["token"], NOW_S) == person(proof["by"]).did


def test_people_have_the_keys_of_the_file() -> None:
    for name, one in INPUTS["people"].items():
        key = decode_did_key(one["did"]).key
        assert encode_did_key(key) == one["did"] == person(name).did
        assert key.public_numbers().x == int.from_bytes(b64url_decode(one["jwk"]["x"]), "big")


def test_damaged_key_texts_and_foreign_dids_are_refused() -> None:
    for text in REFUSED["key_texts"]:
        with pytest.raises(UsageProblem):
            parse_key(text)
    for one in REFUSED["dids"]:
        with pytest.raises(AuthError) as caught:
            decode_did_key(one["did"])
        assert code_of(caught.value) == one["code"], one["did"]


def test_authentic_plaintexts_of_another_format_are_told_apart_from_those_of_another_kind() -> None:
    for one in REFUSED["plaintexts"]:
        with pytest.raises(ForeignRecord) as caught:
            decode(bytes.fromhex(one["plain"]))
        assert code_of(caught.value) == one["code"], one["plain"]


def test_records_and_parts_that_were_altered_moved_or_cut_do_not_open() -> None:
    for one in REFUSED["records"]:
        with pytest.raises(Undecryptable):
            CIPHERS["personal"].read(UUID(one["id"]), sealed(one))
    for one in REFUSED["parts"]:
        with pytest.raises(Undecryptable):
            open_part(one)


def open_part(one: dict[str, Any]) -> bytes:
    """The plaintext of a part of one chunk."""
    data = bytes.fromhex(one["sealed"])
    dek = CIPHERS["personal"].unwrap(bytes.fromhex(one["dek"]))
    place = PartPlace(PERSONAL, CONTENT, UUID(one["part"]))
    cipher = PartCipher(dek, nonce_of(data[:HEADER_BYTES]), place, one["size"])
    return cipher.open(0, data[HEADER_BYTES:])


def test_texts_that_are_no_jws_jwe_or_ucan_of_ours_are_none() -> None:
    for one in REFUSED["jws"]:
        assert verified(one["text"], person(one["by"]).did, kind=one["typ"]) is None, one["text"]
    for one in REFUSED["jwe"]:
        assert open_sealed(one["text"], person(one["to"])) is None, one["text"]
    for one in REFUSED["ucans"]:
        with pytest.raises(AuthError) as caught:
            parse_ucan(one["text"])
        assert code_of(caught.value) == "invalid_ucan", one["name"]


def test_entries_of_a_log_are_read_in_one_way_alone() -> None:
    read = {
        one["name"]: open_entry(bytes.fromhex(one["payload"]), SHARED, EPOCH_KEYS) is not None
        for one in REFUSED["entries"]
    }
    assert [name for name, counts in read.items() if counts] == ["right"]
    assert len(read) > 20


def test_the_worked_examples_of_the_pages_are_those_of_the_file() -> None:
    """A row names where a value stands by a JSON pointer (RFC 6901); three dots stand for a middle."""
    rows = [
        row for page in ("encryption", "ucan") for row in EXAMPLE.findall((DOCS / f"{page}.md").read_text())
    ]
    for pointer, shown in rows:
        value: Any = VECTORS
        for name in pointer.split("/")[1:]:
            value = value[int(name)] if isinstance(value, list) else value[name.replace("~1", "/")]
        start, dots, end = shown.partition("...")
        same = str(value).startswith(start) and str(value).endswith(end) if dots else str(value) == shown
        assert same, pointer
    assert len(rows) >= 30


def test_what_is_too_large_for_a_text_that_all_clients_read_is_refused() -> None:
    alice, bob = person("alice"), person("bob")
    for size_bytes, is_read in ((96_000, True), (96_001, False)):
        text = signed('{"alg":"ES256","typ":"less-sync-vector"}', bytes(size_bytes))
        assert (verified(text, alice.did, kind="less-sync-vector") is not None) is is_read
    with pytest.raises(UsageProblem):
        sign(bytes(96_001), alice.key, kind="less-sync-vector")
    for size_bytes, is_read in ((49_152, True), (49_153, False)):
        assert (open_sealed(seal_fixed(bob.did, bytes(size_bytes)), bob) is not None) is is_read
    with pytest.raises(UsageProblem):
        seal_for(bob.did, bytes(49_153))
