"""Part files: the example of docs/encryption.md 4.2, and refusal of everything cut, moved or altered."""

import hashlib
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from less_sync.client.folder.crypto import RecordCipher, Undecryptable
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.stream import (
    CHUNK_BYTES,
    HEADER_BYTES,
    PartCipher,
    PartPlace,
    header,
    nonce_of,
    sealed_size,
)

ROOT = Path(__file__).resolve().parents[3]
DEK = bytes(range(32))
NONCE = bytes(range(1, 8))
PLACE = PartPlace(
    UUID("da29e793-3f05-51c3-9f72-63cc953f9c05"),
    UUID("0d9b4b1e-7f5e-4a8c-9a51-3f2c7f6a1b2d"),
    UUID("7c0e2b57-8b0a-4d0e-8f43-5a9d6c1e0f3b"),
)


def part_of(plaintext: bytes, *, dek: bytes = DEK, nonce: bytes = NONCE, place: PartPlace = PLACE) -> bytes:
    cipher = PartCipher(dek, nonce, place, len(plaintext))
    chunks = (plaintext[i * CHUNK_BYTES : (i + 1) * CHUNK_BYTES] for i in range(cipher.chunks))
    return header(nonce) + b"".join(cipher.seal(i, chunk) for i, chunk in enumerate(chunks))


def opened(part: bytes, size_bytes: int, *, dek: bytes = DEK, place: PartPlace = PLACE) -> bytes:
    cipher = PartCipher(dek, nonce_of(part[:HEADER_BYTES]), place, size_bytes)
    rest, found = part[HEADER_BYTES:], []
    for index in range(cipher.chunks):
        size = cipher.sealed_size(index)
        found.append(cipher.open(index, rest[:size]))
        rest = rest[size:]
    assert rest == b""
    return b"".join(found)


def test_the_example_of_the_documentation_is_what_is_written() -> None:
    page = (ROOT / "docs" / "encryption.md").read_text()
    part = part_of(b"less-sync")
    assert len(part) == sealed_size(9) == 33
    assert part.hex() in page
    large = part_of(bytes(CHUNK_BYTES + 1))
    assert len(large) == sealed_size(CHUNK_BYTES + 1)
    assert hashlib.sha256(large).hexdigest() in page
    assert part_of(b"").hex() in page


def test_a_part_is_written_as_described() -> None:
    """Put together by hand from the page, not by the code that is tested."""
    plaintext = bytes(CHUNK_BYTES) + b"rest"
    associated = b"\x00".join(str(id).encode() for id in (PLACE.space, PLACE.content, PLACE.part))
    aead = AESGCM(DEK)
    first = aead.encrypt(NONCE + b"\x00\x00\x00\x00\x00", plaintext[:CHUNK_BYTES], associated)
    last = aead.encrypt(NONCE + b"\x00\x00\x00\x01\x01", plaintext[CHUNK_BYTES:], associated)
    assert part_of(plaintext) == b"\x05" + NONCE + first + last


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_parts_of_every_size_open_to_what_was_sealed(size: int) -> None:
    plaintext = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    part = part_of(plaintext[:size])
    assert len(part) == sealed_size(size)
    assert opened(part, size) == plaintext[:size]


@given(position=st.integers(0), bit=st.integers(0, 7), size=st.integers(0, 200))
def test_one_flipped_bit_anywhere_is_refused(position: int, bit: int, size: int) -> None:
    part = bytearray(part_of(bytes(size)))
    part[position % len(part)] ^= 1 << bit
    with pytest.raises(Undecryptable):
        opened(bytes(part), size)


def test_a_part_that_was_cut_short_at_a_chunk_is_refused() -> None:
    """Whoever cuts a part, and lies about its size, cannot make the chunk before the cut the last one."""
    part = part_of(bytes(2 * CHUNK_BYTES))
    with pytest.raises(Undecryptable):
        opened(part[: sealed_size(CHUNK_BYTES)], CHUNK_BYTES)
    with pytest.raises(Undecryptable):
        opened(part[: sealed_size(CHUNK_BYTES)], 2 * CHUNK_BYTES)
    with pytest.raises(Undecryptable):
        opened(part + part[-CHUNK_BYTES - 16 :], 3 * CHUNK_BYTES)


def test_chunks_in_another_order_or_of_another_part_are_refused() -> None:
    part, other = part_of(bytes(3 * CHUNK_BYTES)), part_of(b"x" * (3 * CHUNK_BYTES), nonce=bytes(7))
    size = CHUNK_BYTES + 16
    start, chunks = part[:HEADER_BYTES], [part[HEADER_BYTES + i * size :][:size] for i in range(3)]
    swapped = start + chunks[1] + chunks[0] + chunks[2]
    repeated = start + chunks[0] + chunks[0] + chunks[2]
    spliced = start + chunks[0] + other[HEADER_BYTES + size :][:size] + chunks[2]
    for altered in (swapped, repeated, spliced):
        with pytest.raises(Undecryptable):
            opened(altered, 3 * CHUNK_BYTES)


@pytest.mark.parametrize("name", ["space", "content", "part"])
def test_a_part_opens_only_in_its_own_place_and_with_its_own_key(name: str) -> None:
    part = part_of(b"text")
    with pytest.raises(Undecryptable):
        opened(part, 4, place=replace(PLACE, **{name: UUID(int=7)}))
    with pytest.raises(Undecryptable):
        opened(part, 4, dek=bytes(32))


@pytest.mark.parametrize("start", [b"", b"\x05", b"\x04" + NONCE, b"\x06" + NONCE, b"\x05" + NONCE + b"x"])
def test_the_start_of_another_version_is_refused(start: bytes) -> None:
    with pytest.raises(Undecryptable):
        nonce_of(start)


def test_the_key_of_a_part_is_wrapped_as_those_of_records_are() -> None:
    cipher = RecordCipher(FolderKey(bytes(range(32))), PLACE.space)
    wrapped = cipher.new_dek(epoch=3)
    assert (len(wrapped), wrapped[:4]) == (44, b"\x00\x00\x00\x03")
    assert cipher.wrap(cipher.unwrap(wrapped), epoch=3) == wrapped
    assert cipher.unwrap(wrapped) != cipher.unwrap(cipher.new_dek(epoch=3))
