"""What is planted is the same in every release: an older one may have planted it."""

import hashlib
from typing import Final
from uuid import UUID

import cbor2
import pytest

from less_sync.validation.sentinel import CHAIN, RECORDS, TOMBSTONES, Index, content_of, index_of

SPACE: Final = UUID("0e1f2a3b-4c5d-5e6f-8a7b-9c0d1e2f3a4b")
INDEX: Final = Index(tuple(range(1, 33)), tuple(range(33, 37)), (37, 38, 39), 40)


def test_content_is_what_releases_before_planted() -> None:
    content = content_of(SPACE)
    digest = hashlib.sha256()
    for name, (blob, key) in content.records.items():
        digest.update(name.encode() + blob + key)
    for name in content.tombstones:
        digest.update(name.encode())
    for payload in content.payloads:
        digest.update(payload)
    digest.update(content.index.encode() + content.file.bytes + content.file_dek + content.file_content())
    assert digest.hexdigest() == "b659c0f97527b083179e6cf22c9b376cefbcb9f73bc4443afc37fdcd1450537c"
    assert (len(content.records), len(content.tombstones), len(content.payloads)) == (
        RECORDS,
        TOMBSTONES,
        CHAIN,
    )


def test_content_of_two_spaces_has_nothing_in_common() -> None:
    one, other = content_of(SPACE), content_of(UUID(int=SPACE.int + 1))
    names = [{*content.records, *content.tombstones, content.index} for content in (one, other)]
    assert not names[0] & names[1]
    assert len(names[0]) == RECORDS + TOMBSTONES + 1


def test_an_index_reads_as_it_was_written() -> None:
    assert index_of(INDEX.blob()) == INDEX


@pytest.mark.parametrize("at", [0, 31, 32, 40, -1])
def test_an_index_of_which_a_bit_is_another_is_none(at: int) -> None:
    blob = bytearray(INDEX.blob())
    blob[at] ^= 1
    assert index_of(bytes(blob)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\x9f" * 2000,
        cbor2.dumps({"records": []}),
        cbor2.dumps([[], [], [], 0]),
        cbor2.dumps([["1"] * 32, [1] * 4, [1] * 3, 0]),
        cbor2.dumps([[1] * 32, [1] * 4, [1] * 3, "0"]),
    ],
)
def test_what_is_no_index_is_none_even_with_its_digest(body: bytes) -> None:
    assert index_of(hashlib.sha256(body).digest() + body) is None
