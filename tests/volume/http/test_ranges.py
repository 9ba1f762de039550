"""Ranges of a read and the framing of several."""

import random

import pytest

from less_sync.volume.http.ranges import (
    RANGES_MAX,
    ByteRange,
    InvalidRangeError,
    fits,
    multipart,
    parse_ranges,
)

_SIZE = 16


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-3", [(0, 4)]),
        ("bytes=3-", [(3, 13)]),
        ("bytes=-4", [(12, 4)]),
        ("bytes=-0", [(16, 0)]),
        ("bytes=--0", [(16, 0)]),
        ("bytes=-99", [(0, 16)]),
        ("bytes=16-", [(16, 0)]),
        ("bytes=16-20", [(16, 0)]),
        ("bytes=15-99", [(15, 1)]),
        ("bytes=+1-+3", [(1, 3)]),
        ("bytes= 1 - 3 ", [(1, 3)]),
        ("bytes=\t1\t-\t3,\t", [(1, 3)]),
        ("bytes=0-0,", [(0, 1)]),
        ("bytes=,0-0,,4-5", [(0, 1), (4, 2)]),
        ("bytes=0-9223372036854775807", [(0, 16)]),
        ("bytes=", []),
        ("bytes=,", []),
        ("bytes= , ,", []),
    ],
)
def test_a_range_is_read(header: str, expected: list[tuple[int, int]]) -> None:
    assert parse_ranges(header, _SIZE) == [ByteRange(*one) for one in expected]


@pytest.mark.parametrize(
    "header",
    [
        "bytes=17-",
        "bytes=5-2",
        "bytes=abc",
        "items=0-1",
        "Bytes=0-1",
        " bytes=0-1",
        "bytes",
        "bytes=-",
        "bytes=0",
        "bytes=0-1,17-",
        "bytes=--3",
        "bytes=0--1",
        "bytes=-1-2",
        "bytes=0-1-2",
        "bytes=0x1-2",
        "bytes=1_0-2",
        "bytes=\u0661-2",
        "bytes=0-9223372036854775808",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_what_is_no_range_is_refused(header: str) -> None:
    with pytest.raises(InvalidRangeError, match=r"^invalid range$"):
        parse_ranges(header, _SIZE)


def test_an_empty_file_has_one_range_of_nothing() -> None:
    (only,) = parse_ranges("bytes=0-", 0)
    assert (only, only.content_range(0)) == (ByteRange(0, 0), "bytes 0--1/0")


def test_only_so_many_pieces_are_read() -> None:
    assert len(parse_ranges("bytes=" + ",".join(["0-0"] * RANGES_MAX), _SIZE)) == RANGES_MAX
    for pieces in (["0-0"] * (RANGES_MAX + 1), [""] * 500_000):
        with pytest.raises(InvalidRangeError):
            parse_ranges("bytes=" + ",".join(pieces), _SIZE)


def test_ranges_that_overlap_may_be_longer_than_the_whole() -> None:
    assert fits(parse_ranges("bytes=0-7,8-15", _SIZE), _SIZE)
    assert not fits(parse_ranges("bytes=0-10,5-15", _SIZE), _SIZE)


def test_every_range_lies_within_the_file() -> None:
    chance = random.Random(5)
    for _ in range(2000):
        size = chance.choice((0, 1, 2, 16, 2**40))
        header = "bytes=" + "".join(chance.choices("0123456789-,+ x", (*[1] * 10, 6, 2, 1, 1, 0.2), k=8))
        try:
            ranges = parse_ranges(header, size)
        except InvalidRangeError:
            continue
        for one in ranges:
            assert 0 <= one.length <= size
            assert 0 <= one.start <= one.start + one.length <= size


def test_parts_are_framed_as_recorded() -> None:
    ranges = [ByteRange(0, 2), ByteRange(4, 2)]
    framed = multipart(ranges, 16, "", "b" * 60)
    body = framed.heads[0] + b"01" + framed.heads[1] + b"45" + framed.end
    delimiter = b"--" + b"b" * 60
    assert body == (
        delimiter + b"\r\nContent-Range: bytes 0-1/16\r\nContent-Type: \r\n\r\n01\r\n"
        + delimiter + b"\r\nContent-Range: bytes 4-5/16\r\nContent-Type: \r\n\r\n45\r\n"
        + delimiter + b"--\r\n"
    )  # fmt: skip
    assert framed.length == len(body) == 296
    assert framed.content_type == "multipart/byteranges; boundary=" + "b" * 60


def test_boundaries_are_never_the_same() -> None:
    one, other = (multipart([], 0, "").content_type for _ in range(2))
    assert one != other
    assert len(one.partition("boundary=")[2]) == 60
