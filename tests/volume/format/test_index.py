"""Rows of the index, the superblock and the volume info."""

import json

import pytest

from less_sync.volume.format.errors import FormatError, SuperblockError
from less_sync.volume.format.rows import OFFSETS_BYTES, Row, decode_rows, encode_row
from less_sync.volume.format.superblock import Superblock, decode_superblock
from less_sync.volume.format.volume_info import (
    EcShardConfig,
    RemoteFile,
    VolumeInfo,
    decode_volume_info,
    encode_volume_info,
)


def test_rows_of_both_widths() -> None:
    far = 0x01_02030405 * 8
    assert encode_row(7, 8, -1, 4).hex() == "000000000000000700000001ffffffff"
    assert encode_row(7, far, 5, 5).hex() == "0000000000000007020304050100000005"
    assert list(decode_rows(encode_row(7, far, 5, 5) + b"half a row", 5)) == [Row(7, far, 5)]
    assert list(decode_rows(encode_row(1, 0, 3, 4) + encode_row(2, 16, -1, 4), 4)) == [
        Row(1, 0, 3),
        Row(2, 16, -1),
    ]


def test_an_offset_beyond_four_bytes_wraps() -> None:
    assert next(decode_rows(encode_row(1, OFFSETS_BYTES[4] + 80, -1, 4), 4)).offset == 80
    assert next(decode_rows(encode_row(1, OFFSETS_BYTES[4] + 80, -1, 5), 5)).offset == OFFSETS_BYTES[4] + 80


@pytest.mark.parametrize(
    ("row", "gone"),
    [(Row(1, 8, 0), False), (Row(1, 8, 5), False), (Row(1, 0, 5), True), (Row(1, 8, -1), True)],
)
def test_a_row_without_an_offset_or_with_a_negative_size_is_a_deletion(row: Row, gone: bool) -> None:
    assert row.is_deletion is gone


def test_a_superblock_keeps_what_it_does_not_know() -> None:
    superblock = Superblock(2, 11, 0x0303, 65_536 + 5, b"more")
    found = decode_superblock(superblock.encode() + b"records")
    assert (found.version, found.placement, found.ttl, found.revision, found.extra) == (
        2,
        11,
        0x0303,
        5,
        b"more",
    )
    assert found.end == 12
    first = decode_superblock(b"\x01" + superblock.encode()[1:])
    assert (first.extra, first.end) == (b"", 8)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes((3, *[0] * 6)),
        bytes((0, *[0] * 7)),
        bytes((4, *[0] * 7)),
        bytes((3, *[0] * 6, 5)) + b"1234",
    ],
)
def test_what_is_no_superblock_is_refused(head: bytes) -> None:
    with pytest.raises(SuperblockError):
        decode_superblock(head)


def test_a_version_that_nobody_knows_is_not_written() -> None:
    for version in (0, 4):
        with pytest.raises(SuperblockError, match=f"volume super block version {version} is not supported"):
            Superblock(version).encode()


FULL = VolumeInfo(
    files=[RemoteFile("s3", "default", "a key", 0, 448, 1_700_000_000, ".dat")],
    version=3,
    replication="010",
    bytes_offset=4,
    dat_file_size=2**40,
    expire_at_sec=2**33,
    read_only=True,
    ec_shard_config=EcShardConfig(10, 4, 1_700_000_000_000_000_000),
    read_only_can_delete=True,
)


def test_a_volume_info_comes_back() -> None:
    assert decode_volume_info(encode_volume_info(FULL)) == FULL
    assert decode_volume_info(b"{}") == VolumeInfo()
    assert decode_volume_info(b'{"files":null,"ecShardConfig":null,"version":"3","later":[1]}') == VolumeInfo(
        version=3
    )


def test_a_fresh_volume_info_is_the_text_that_existing_servers_write() -> None:
    assert encode_volume_info(VolumeInfo(version=3, bytes_offset=4)).decode().split("\n") == [
        "{",
        '  "files": [],',
        '  "version": 3,',
        '  "replication": "",',
        '  "bytesOffset": 4,',
        '  "datFileSize": "0",',
        '  "expireAtSec": "0",',
        '  "readOnly": false,',
        '  "ecShardConfig": null,',
        '  "readOnlyCanDelete": false',
        "}",
    ]


def test_a_volume_info_of_older_servers_is_read() -> None:
    old = {
        "version": 3,
        "replication": "010",
        "BytesOffset": 5,
        "dat_file_size": "7",
        "DestroyTime": "9",
        "read_only": True,
    }
    assert decode_volume_info(json.dumps(old).encode()) == VolumeInfo(
        version=3, replication="010", bytes_offset=5, dat_file_size=7, expire_at_sec=9, read_only=True
    )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        b'{"version":"x"}',
        b'{"version":true}',
        b'{"version":1e9}',
        b'{"datFileSize":' + b"9" * 30 + b"}",
        b'{"readOnly":"yes"}',
        b'{"replication":1}',
        b'{"files":{}}',
        b'{"files":[1]}',
        b'{"ecShardConfig":[]}',
    ],
)
def test_what_is_no_volume_info_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError):
        decode_volume_info(text)
