"""Packing uploads and looking into packed ones."""

import gzip
import zlib

import pytest

from less_sync.volume.http.compress import UnpackError, compress, is_compressible, unpack


@pytest.mark.parametrize(
    ("name", "mime", "worth"),
    [
        ("a", "text/plain", True),
        ("a", "TEXT/PLAIN", False),
        ("a.svg", "image/svg+xml", False),
        (".svg", "image/svg+xml", True),
        ("a.json", "", False),
        (".json", "", True),
        (".png", "application/xml", False),
        ("a", "application/xhtml+xml", True),
        ("a", "application/javascript", True),
        ("a", "application/json", False),
        ("a", "audio/x-wav", True),
        ("a", "audio/mpeg", False),
    ],
)
def test_which_files_are_worth_packing(name: str, mime: str, worth: bool) -> None:
    assert is_compressible(name, mime) is worth


def test_packed_data_has_neither_name_nor_time_and_is_kept_if_it_saves_a_tenth() -> None:
    packed = compress(b"squeeze" * 100)
    assert packed is not None
    assert packed[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert gzip.decompress(packed) == b"squeeze" * 100
    assert compress(bytes(range(256))) is None
    assert compress(b"") is None


def _packed(*members: bytes) -> bytes:
    return b"".join(gzip.compress(member, mtime=0) for member in members)


def test_all_members_are_unpacked_in_bounded_pieces() -> None:
    pieces: list[bytes] = []
    first, second = bytes(3 << 20), bytes(range(256)) * 1000
    assert unpack(_packed(first, b"", second), pieces.append) == len(first) + len(second)
    assert b"".join(pieces) == first + second
    assert max(map(len, pieces)) <= 256 << 10


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"not gzip at all",
        _packed(b"data")[:-1],
        _packed(b"data") + b"x",
        _packed(b"data")[:-5] + b"xxxxx",
        zlib.compress(b"data"),
        _packed(*[b""] * 1001),
    ],
)
def test_what_is_no_whole_stream_cannot_be_unpacked(stream: bytes) -> None:
    with pytest.raises(UnpackError):
        unpack(stream, len)


def test_a_bomb_is_given_up_at_the_bound() -> None:
    taken = 0

    def take(piece: bytes) -> None:
        nonlocal taken
        taken += len(piece)

    with pytest.raises(UnpackError, match="too large"):
        unpack(_packed(bytes(8 << 20)), take, 1 << 20)
    assert taken <= 1 << 20
