"""One file as one encrypted record: round trips, layout, and refusal of everything altered."""

import hashlib
import hmac
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from hypothesis import given
from hypothesis import strategies as st

from less_sync.client.folder.crypto import (
    BLOB_BYTES_MAX,
    DEK_BYTES,
    RecordCipher,
    SealedFile,
    Undecryptable,
    content_bytes_max,
)
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.plaintext import ForeignRecord, PlainFile

KEY = FolderKey(bytes(range(32)))
SPACE = UUID("da29e793-3f05-51c3-9f72-63cc953f9c05")
CIPHER = RecordCipher(KEY, SPACE)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
files = st.builds(
    PlainFile, path=names, mtime_ns=st.integers(-(2**62), 2**62), content=st.binary(max_size=300)
)


def derived(info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(KEY.secret)


@given(file=files, epoch=st.integers(1, 2**31 - 1))
def test_what_was_sealed_opens_to_the_same_file(file: PlainFile, epoch: int) -> None:
    record = CIPHER.record_id(file.path)
    sealed = CIPHER.seal(record, file, epoch=epoch)
    assert sealed.dek[:4] == epoch.to_bytes(4, "big")
    assert CIPHER.open(record, sealed) == file


@given(file=files, position=st.integers(0), bit=st.integers(0, 7), in_dek=st.booleans())
def test_one_flipped_bit_anywhere_is_refused(file: PlainFile, position: int, bit: int, in_dek: bool) -> None:
    record = CIPHER.record_id(file.path)
    sealed = CIPHER.seal(record, file, epoch=1)
    target = bytearray(sealed.dek if in_dek else sealed.blob)
    target[position % len(target)] ^= 1 << bit
    altered = SealedFile(sealed.blob, bytes(target)) if in_dek else SealedFile(bytes(target), sealed.dek)
    with pytest.raises(Undecryptable):
        CIPHER.open(record, altered)


@given(file=files, keep=st.integers(0, 60))
def test_a_truncated_record_is_refused(file: PlainFile, keep: int) -> None:
    record = CIPHER.record_id(file.path)
    sealed = CIPHER.seal(record, file, epoch=1)
    with pytest.raises(Undecryptable):
        CIPHER.open(record, SealedFile(sealed.blob[: min(keep, len(sealed.blob) - 1)], sealed.dek))
    with pytest.raises(Undecryptable):
        CIPHER.open(record, SealedFile(sealed.blob, sealed.dek[: min(keep, DEK_BYTES - 1)]))


def test_a_record_opens_only_under_its_own_id_space_and_key() -> None:
    file = PlainFile("a.txt", 1, b"text")
    record, other = CIPHER.record_id("a.txt"), CIPHER.record_id("b.txt")
    sealed = CIPHER.seal(record, file, epoch=1)
    for cipher, where in (
        (CIPHER, other),
        (RecordCipher(KEY, UUID(int=7)), record),
        (RecordCipher(FolderKey(bytes(32)), SPACE), record),
    ):
        with pytest.raises(Undecryptable):
            cipher.open(where, sealed)


def test_the_layout_is_the_documented_one() -> None:
    record = CIPHER.record_id("notes/a.txt")
    mac = hmac.new(
        derived(b"less-sync/folder/v1/record-id"), str(SPACE).encode() + b"\x00notes/a.txt", hashlib.sha256
    )
    assert record.bytes == mac.digest()[:16]
    sealed = CIPHER.seal(record, PlainFile("notes/a.txt", 5, b"hello", version=7), epoch=3)
    assert (sealed.blob[0], len(sealed.dek)) == (4, 44)
    kek = derived(b"less-sync/folder/v1/kek\x00\x00\x00\x00\x03")
    dek = aes_key_unwrap(kek, sealed.dek[4:])
    plain = AESGCM(dek).decrypt(sealed.blob[1:13], sealed.blob[13:], f"{SPACE}\x00{record}".encode())
    assert list(cbor2.loads(plain).items()) == [
        ("v", 2),
        ("kind", "file"),
        ("version", 7),
        ("path", "notes/a.txt"),
        ("mtime_ns", 5),
        ("content", b"hello"),
    ]


def test_every_seal_uses_a_fresh_key_and_iv() -> None:
    record = CIPHER.record_id("a")
    seals = [CIPHER.seal(record, PlainFile("a", 0, b""), epoch=1) for _ in range(50)]
    assert len({sealed.dek for sealed in seals}) == len({sealed.blob[1:13] for sealed in seals}) == 50


def test_ids_differ_by_path_space_and_key_and_agree_between_devices() -> None:
    ids = {
        CIPHER.record_id("a"),
        CIPHER.record_id("b"),
        RecordCipher(KEY, UUID(int=7)).record_id("a"),
        RecordCipher(FolderKey(bytes(32)), SPACE).record_id("a"),
    }
    assert len(ids) == 4
    assert RecordCipher(FolderKey(KEY.secret), SPACE).record_id("a") in ids


def test_a_file_of_the_largest_size_makes_a_blob_within_the_bound() -> None:
    path = "x" * 255
    file = PlainFile(path, 2**62, bytes(content_bytes_max(path)))
    blob = CIPHER.seal(CIPHER.record_id(path), file, epoch=1).blob
    assert BLOB_BYTES_MAX - 64 < len(blob) <= BLOB_BYTES_MAX


@pytest.mark.parametrize(
    "value",
    [
        {"v": 2, "path": "a", "mtime_ns": 0, "content": b""},
        {"v": 1, "path": b"a", "mtime_ns": 0, "content": b""},
        {"v": 1, "path": "a", "mtime_ns": 0, "content": "text"},
        {"v": 1, "path": "a", "mtime_ns": True, "content": b""},
        {"v": 1, "path": "a", "mtime_ns": 2**63, "content": b""},
        {"v": 1, "path": "a", "content": b""},
        [1, 2],
        "text",
    ],
)
def test_an_authentic_record_of_another_shape_is_foreign(value: object) -> None:
    record = CIPHER.record_id("a")
    sealed = CIPHER.seal(record, PlainFile("a", 0, b""), epoch=1)
    dek = aes_key_unwrap(derived(b"less-sync/folder/v1/kek\x00\x00\x00\x00\x01"), sealed.dek[4:])
    body = AESGCM(dek).encrypt(bytes(12), cbor2.dumps(value), f"{SPACE}\x00{record}".encode())
    with pytest.raises(ForeignRecord):
        CIPHER.open(record, SealedFile(b"\x04" + bytes(12) + body, sealed.dek))


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_and_nothing_else(blob: bytes, dek: bytes) -> None:
    with pytest.raises(Undecryptable):
        CIPHER.open(UUID(int=1), SealedFile(blob, dek))


def test_no_key_or_content_is_shown_by_repr() -> None:
    secret = b"\xaa\xbb" * 16
    for value in (FolderKey(secret), PlainFile("a", 0, secret), SealedFile(secret, secret)):
        assert "xaa" not in repr(value)
