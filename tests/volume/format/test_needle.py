"""Records: byte for byte what existing servers write, and what is refused."""

import gzip
from pathlib import Path
from typing import Final

import pytest

from less_sync.volume.format.checksums import crc32c, masked
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import (
    HAS_LAST_MODIFIED,
    HAS_MIME,
    HAS_NAME,
    HAS_PAIRS,
    HAS_TTL,
    HEAD_BYTES,
    HEADER,
    Needle,
    decode,
    decode_around,
    encode,
    frame,
    record_length,
)
from less_sync.volume.format.superblock import decode_superblock

VOLUMES: Final = Path(__file__).parents[2] / "vectors" / "volume_files"
BY_EXISTING_SERVERS: Final = sorted(
    path
    for path in VOLUMES.glob("*/*.dat*")
    if path.parent.name not in {"hand_made_v3", "superblock_extra", "alloc_version_2_mismatch"}
)
ALL_FLAGS: Final = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED | HAS_TTL | HAS_PAIRS


@pytest.mark.parametrize("path", BY_EXISTING_SERVERS, ids=lambda path: path.parent.name)
def test_every_recorded_record_is_written_again_with_the_same_bytes(path: Path) -> None:
    volume = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    superblock = decode_superblock(volume[:8])
    assert superblock.encode() == volume[: superblock.end]
    at = superblock.end
    while at < len(volume):
        record = volume[at : at + record_length(HEADER.unpack_from(volume, at)[2], superblock.version)]
        needle = decode(record, superblock.version)
        assert encode(needle, superblock.version) == record
        at += len(record)
    assert at == len(volume)


@pytest.mark.parametrize(
    ("version", "lengths"),
    [
        (1, [24, *[24] * 3, *[32] * 8, *[40] * 5]),
        (2, [24, *[24] * 3, *[32] * 8, *[40] * 5]),
        (3, [32, *[32] * 3, *[40] * 8, *[48] * 5]),
    ],
)
def test_a_record_is_padded_by_one_to_eight_bytes(version: int, lengths: list[int]) -> None:
    assert [record_length(size, version) for size in range(17)] == lengths
    assert record_length(-1, version) == lengths[0]


@pytest.mark.parametrize("version", [2, 3])
def test_every_field_comes_back(version: int) -> None:
    needle = Needle(
        id=2**64 - 1,
        cookie=2**32 - 1,
        data=b"data",
        flags=ALL_FLAGS,
        name=b"n" * 255,
        mime=b"m" * 255,
        last_modified=2**40 - 1,
        ttl=3 << 8 | 3,
        pairs=b"p" * 65_535,
        checksum=crc32c(b"data"),
        append_at_ns=5 if version == 3 else 0,
    )
    found = decode(encode(needle, version), version)
    found.data = bytes(found.data)
    assert found == needle


def test_fields_without_a_flag_and_without_data_are_not_kept() -> None:
    unflagged = Needle(1, 2, b"x", name=b"name", mime=b"mime", last_modified=7, checksum=crc32c(b"x"))
    assert decode(encode(unflagged, 3), 3).name == b""
    empty = Needle(1, 2, flags=ALL_FLAGS, name=b"name", last_modified=7, append_at_ns=9)
    found = decode(encode(empty, 3), 3)
    assert (found.flags, found.name, found.last_modified, found.size, found.append_at_ns) == (0, b"", 0, 0, 9)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_record_may_lack_its_padding_and_nothing_more(version: int) -> None:
    record = encode(Needle(1, 2, b"some data", checksum=crc32c(b"some data")), version)
    size = HEADER.unpack_from(record)[2]
    end = HEADER.size + size + (12 if version == 3 else 4)
    assert decode(record[:end], version).data == b"some data"
    for length in range(end):
        with pytest.raises(DamagedNeedleError, match="EOF"):
            decode(record[:length], version)


def test_either_form_of_the_checksum_is_taken_and_no_other() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"56789", crc32c(b"1234")) == crc32c(b"123456789")
    plain = crc32c(b"data")
    for stored in (plain, masked(plain)):
        assert decode(encode(Needle(1, 2, b"data", checksum=stored), 3), 3).checksum == plain
    wrong = encode(Needle(0xAB, 2, b"data", checksum=plain ^ 1), 3)
    with pytest.raises(DamagedNeedleError, match=f"needle ab \\(got {plain:08x}, want {plain ^ 1:08x}\\)"):
        decode(wrong, 3)
    assert decode(wrong, 3, check=False).data == b"data"


def _body(*pieces: bytes) -> bytes:
    body = b"".join(pieces)
    return HEADER.pack(2, 1, len(body)) + body + bytes(12)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (_body(b"\0\0\0\x05", b"1234"), 1),
        (_body(b"\0\0\0\0", bytes((HAS_NAME,)), b"\x05name"), 2),
        (_body(b"\0\0\0\0", bytes((HAS_MIME,)), b"\x05mime"), 3),
        (_body(b"\0\0\0\0", bytes((HAS_LAST_MODIFIED,)), b"1234"), 4),
        (_body(b"\0\0\0\0", bytes((HAS_TTL,)), b"1"), 5),
        (_body(b"\0\0\0\0", bytes((HAS_PAIRS,)), b"1"), 6),
        (_body(b"\0\0\0\0", bytes((HAS_PAIRS,)), b"\0\x05pair"), 7),
    ],
)
def test_a_length_beyond_the_body_is_damage(record: bytes, place: int) -> None:
    with pytest.raises(DamagedNeedleError, match=f"index out of range {place}: needle data corrupted"):
        decode(record, 3)


def test_a_body_may_end_between_fields_and_have_something_behind_them() -> None:
    early = decode(_body(b"\0\0\0\0", bytes((ALL_FLAGS,)), b"\x04name"), 3)
    assert (early.name, early.mime, early.last_modified) == (b"name", b"", 0)
    assert decode(_body(b"\0\0\0\0", bytes((HAS_NAME,)), b"\x04name", b"more"), 3).name == b"name"


@pytest.mark.parametrize("version", [2, 3])
def test_a_record_can_be_read_around_its_data(version: int) -> None:
    data = bytes(range(200))
    needle = Needle(7, 8, data, flags=HAS_NAME | HAS_TTL, name=b"n", ttl=258, checksum=crc32c(data))
    head, tail = frame(needle, version)
    assert len(head) == HEAD_BYTES
    around, data_bytes = decode_around(head, tail, version)
    assert data_bytes == len(data)
    assert (around.id, around.cookie, around.name, around.ttl) == (7, 8, b"n", 258)
    assert (around.checksum, around.size, bytes(around.data)) == (crc32c(data), needle.size, b"")
    for damaged in (HEADER.pack(8, 7, needle.size) + b"\xff\xff\xff\xff", head):
        with pytest.raises(DamagedNeedleError):
            decode_around(damaged, tail[: len(tail) if damaged is not head else 3], version)
