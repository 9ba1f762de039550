"""What records say: large files and their content records, read without trust."""

from typing import Any
from uuid import UUID

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.keyfile import FolderKey
from less_sync.client.folder.plaintext import (
    PART_BYTES_MAX,
    PART_BYTES_MIN,
    SIZE_BYTES_MAX,
    FileKind,
    ForeignRecord,
    OtherKind,
    PlainContent,
    PlainFile,
    Pointer,
    decode,
    encode_content,
    encode_file,
    part_count,
)

MIB = 1024 * 1024
DIGEST = bytes(range(32))
IDS = tuple(UUID(int=number) for number in (9, 3, 5))
CONTENT = PlainContent(2 * MIB + 1, DIGEST, MIB, IDS)
LARGE = PlainFile("a/b", 7, b"", FileKind.LARGE, 4, Pointer(2 * MIB + 1, DIGEST, UUID(int=1)))


def map_of(plaintext: bytes) -> dict[str, Any]:
    value = cbor2.loads(plaintext)
    assert isinstance(value, dict)
    return value


def test_a_large_file_and_its_content_are_written_as_described() -> None:
    assert map_of(encode_file(LARGE)) == {
        "v": 2,
        "kind": "large",
        "version": 4,
        "path": "a/b",
        "mtime_ns": 7,
        "size": 2 * MIB + 1,
        "digest": DIGEST,
        "content": UUID(int=1).bytes,
    }
    assert map_of(encode_content(CONTENT)) == {
        "v": 2,
        "kind": "content",
        "version": 1,
        "size": 2 * MIB + 1,
        "digest": DIGEST,
        "part_bytes": MIB,
        "parts": [id.bytes for id in IDS],
    }


def test_what_is_sealed_opens_to_the_same() -> None:
    cipher = RecordCipher(FolderKey(bytes(32)), UUID(int=1))
    record = cipher.record_id("a/b")
    assert cipher.open(record, cipher.seal(record, LARGE, epoch=1)) == LARGE
    sealed = cipher.seal_content(UUID(int=2), CONTENT, epoch=1)
    assert cipher.read(UUID(int=2), sealed) == CONTENT
    with pytest.raises(OtherKind):
        cipher.open(UUID(int=2), sealed)


@given(size=st.integers(0, 2**40), part_bytes=st.integers(PART_BYTES_MIN, PART_BYTES_MAX))
def test_the_parts_of_a_content_have_its_size_together(size: int, part_bytes: int) -> None:
    number = part_count(size, part_bytes)
    content = PlainContent(size, DIGEST, part_bytes, (UUID(int=1),) * number)
    sizes = [content.part_size(index) for index in {0, number - 1}]
    assert all(0 < one <= part_bytes for one in sizes) or (size, sizes) == (0, [0])
    assert (number - 1) * part_bytes + content.part_size(number - 1) == size


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": SIZE_BYTES_MAX + 1},
        {"size": True},
        {"size": 1.0},
        {"size": MIB},
        {"size": 3 * MIB + 1},
        {"digest": DIGEST[1:]},
        {"digest": "x" * 32},
        {"part_bytes": PART_BYTES_MIN - 1},
        {"part_bytes": PART_BYTES_MAX + 1},
        {"part_bytes": 0},
        {"part_bytes": None},
        {"parts": []},
        {"parts": [id.bytes for id in (*IDS, UUID(int=1))]},
        {"parts": [IDS[0].bytes, IDS[1].bytes, IDS[0].bytes]},
        {"parts": [IDS[0].bytes, IDS[1].bytes, b"x"]},
        {"parts": [IDS[0].bytes, IDS[1].bytes, str(IDS[2])]},
        {"parts": b"".join(id.bytes for id in IDS)},
        {"version": 0},
        {"v": 3},
    ],
)
def test_a_content_record_of_any_other_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ForeignRecord):
        decode(cbor2.dumps(map_of(encode_content(CONTENT)) | change))


@pytest.mark.parametrize(
    "change",
    [
        {"size": -1},
        {"size": None},
        {"digest": b""},
        {"content": b""},
        {"content": bytes(17)},
        {"content": UUID(int=1).hex},
        {"path": b"a"},
        {"mtime_ns": 2**63},
        {"version": 2**53},
    ],
)
def test_a_large_file_of_any_other_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ForeignRecord):
        decode(cbor2.dumps(map_of(encode_file(LARGE)) | change))


def test_an_empty_content_has_one_empty_part() -> None:
    empty = PlainContent(0, DIGEST, PART_BYTES_MAX, IDS[:1])
    assert decode(encode_content(empty)) == empty
    assert empty.part_size(0) == 0
    with pytest.raises(ForeignRecord):
        decode(encode_content(PlainContent(0, DIGEST, PART_BYTES_MAX, ())))
