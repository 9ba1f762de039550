"""Lists of chunks."""

import json
import random

import pytest

from less_sync.volume.http.manifest import CHUNKS_MAX, MANIFEST_BYTES_MAX, Chunk, Manifest, parse_manifest


def test_a_list_is_read_in_the_order_of_offsets_and_summed() -> None:
    text = (
        b'{"name":"m.txt","mime":"text/plain","size":99,"chunks":['
        b'{"fid":"5,0200000001","offset":6,"size":6},{"fid":"5,0100000001","offset":0,"size":5}],"more":1}'
    )
    chunks = (Chunk("5,0100000001", 0, 5), Chunk("5,0200000001", 6, 6))
    assert parse_manifest(text) == Manifest("m.txt", "text/plain", 99, 11, chunks)
    assert parse_manifest(memoryview(text)) == parse_manifest(text)


@pytest.mark.parametrize("text", [b"{}", b"null", b'{"chunks":null}', b'{"chunks":[]}', b'{"name":null}'])
def test_a_list_may_be_empty(text: bytes) -> None:
    assert parse_manifest(text) == Manifest("", "", 0, 0, ())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not json",
        b"[]",
        b"7",
        b'"text"',
        b'{"name":1}',
        b'{"mime":[]}',
        b'{"size":"1"}',
        b'{"size":1.0}',
        b'{"size":true}',
        b'{"size":-1}',
        b'{"size":9223372036854775808}',
        b'{"chunks":{}}',
        b'{"chunks":7}',
        b'{"chunks":[null]}',
        b'{"chunks":[7]}',
        b'{"chunks":[{"fid":7}]}',
        b'{"chunks":[{"offset":-1}]}',
        b'{"chunks":[{"size":NaN}]}',
        b'{"chunks":[{"size":Infinity}]}',
        b'{"chunks":[{"size":9223372036854775807},{"size":1}]}',
        b'{"size":' + b"9" * 100_000 + b"}",
        b"[" * 500_000,
        b'{"a":' * 500_000,
        b'{"chunks":' + b"[" * 100_000,
        b"\xff\xfe{}",
        '{"size":1}'.encode("utf-16"),
    ],
)
def test_what_is_no_list_is_none(text: bytes) -> None:
    assert parse_manifest(text) is None


def test_only_so_many_chunks_are_read() -> None:
    few, many = (json.dumps({"chunks": [{}] * count}).encode() for count in (CHUNKS_MAX, CHUNKS_MAX + 1))
    assert len(many) < MANIFEST_BYTES_MAX
    assert parse_manifest(many) is None
    manifest = parse_manifest(few)
    assert manifest is not None
    assert len(manifest.chunks) == CHUNKS_MAX
    assert parse_manifest(b" " * (MANIFEST_BYTES_MAX - 1) + b"{}") is None


def test_a_list_with_changed_bytes_is_a_list_or_none() -> None:
    chance = random.Random(9)
    text = b'{"name":"m","size":9,"chunks":[{"fid":"5,01","offset":6,"size":6},{"fid":"5,02"}]}'
    for _ in range(1000):
        changed = bytearray(text)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        found = parse_manifest(changed)
        assert found is None or found.size == sum(chunk.size for chunk in found.chunks)
