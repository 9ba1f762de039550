"""Texts of the format: times to live, replica placement, file ids, names of files."""

import pytest

from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.fid import needle_text, parse_needle, parse_volume_id, split_fid
from less_sync.volume.format.names import base_name, parse_base_name
from less_sync.volume.format.placement import parse_placement, placement_of, placement_text
from less_sync.volume.format.ttl import parse_ttl, ttl_minutes, ttl_number, ttl_text

TTLS = {
    "59m": "59m",
    "60m": "1h",
    "90m": "90m",
    "255m": "255m",
    "256m": "4h",
    "300m": "5h",
    "23h": "23h",
    "24h": "1d",
    "255h": "255h",
    "256h": "10d",
    "7d": "1w",
    "30d": "1M",
    "31d": "31d",
    "365d": "1y",
    "256d": "36w",
    "1000d": "142w",
    "300w": "70M",
    "12M": "12M",
    "255y": "255y",
    "256y": "",
    "5": "5m",
    "": "",
    "0m": "",
    "5x": "",
    "-5m": "",
}


@pytest.mark.parametrize(("text", "kept"), TTLS.items())
def test_a_ttl_is_brought_to_its_largest_unit(text: str, kept: str) -> None:
    ttl = parse_ttl(text)
    assert ttl_text(ttl) == kept
    assert parse_ttl(kept) == ttl


@pytest.mark.parametrize("text", ["abc", "1.5h", "m", "x"])
def test_a_ttl_without_a_number_is_an_error(text: str) -> None:
    with pytest.raises(FormatError, match=f'strconv.Atoi: parsing "{text[:-1]}": invalid syntax'):
        parse_ttl(text)


def test_a_ttl_of_no_count_or_no_unit_never_ends() -> None:
    assert [ttl_minutes(ttl) for ttl in (0x0501, 0x0102, 0x0206, 0x0500, 0x0507, 0x0003)] == [
        5,
        60,
        2 * 365 * 24 * 60,
        0,
        0,
        0,
    ]
    assert [ttl_number(ttl) for ttl in (0x0003, 0x0303, 0x0500)] == [0, 0x0303, 0x0500]
    assert [ttl_text(ttl) for ttl in (0x0003, 0x0507, 0x0500)] == ["", "", ""]


def test_a_placement_is_three_digits() -> None:
    assert [parse_placement(text) for text in ("", "1", "01", "011", "200", "0001", "255")] == [
        0,
        1,
        1,
        11,
        200,
        0,
        255,
    ]
    assert placement_text(11) == "011"
    assert placement_of(255) == (2, 5, 5)
    assert placement_of(12).copies == 4


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1-1", "unknown replication type: 1-1"),
        ("000-", "unknown replication type: 000-"),
        ("bad", "unexpected replication type: bad"),
        ("300", "unexpected replication type: 300"),
        ("256", "unexpected replication type: 256"),
    ],
)
def test_another_placement_is_refused(text: str, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        parse_placement(text)


@pytest.mark.parametrize(
    ("text", "id_", "cookie"),
    [
        ("01637037d6", 1, 0x637037D6),
        ("1637037d6", 1, 0x637037D6),
        ("0000000000000001637037D6", 1, 0x637037D6),
        ("ffffffffffffffff00000000", 2**64 - 1, 0),
        ("01aabbccdd_3", 4, 0xAABBCCDD),
    ],
)
def test_a_file_id_is_read(text: str, id_: int, cookie: int) -> None:
    assert parse_needle(text) == (id_, cookie)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("637037d6", "Invalid fid: 637037d6"),
        ("37d6_1", "Invalid fid: 37d6_1"),
        ("637037d6_1", "KeyHash is too short."),
        ("00000000000000001637037d6", "KeyHash is too long."),
        ("0x637037d6", 'Parse needleId error: needle id 0x format error: strconv.ParseUint: parsing "0x":'),
        ("01637037dg", "Parse cookie error: needle cookie 637037dg format error: strconv.ParseUint: parsing"),
        ("01637037d6_x", 'strconv.ParseUint: parsing "x": invalid syntax'),
        ("01637037d6_", 'strconv.ParseUint: parsing "": invalid syntax'),
        ("ffffffffffffffff00000000_1", "delta 1 overflows needle id ffffffffffffffff"),
    ],
)
def test_a_malformed_file_id_is_refused(text: str, problem: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse_needle(text)
    assert str(refused.value).startswith(problem)


def test_a_file_id_is_printed_without_leading_zero_bytes() -> None:
    assert needle_text(1, 0x637037D6) == "01637037d6"
    assert needle_text(0, 1) == "00000001"
    assert needle_text(0xABC, 0xF) == "0abc0000000f"


def test_a_volume_id_is_a_number_of_which_32_bits_count() -> None:
    assert [parse_volume_id(text) for text in ("3", "007", "4294967299")] == [3, 7, 3]
    for text in ("", "+3", " 3", "3x", "\u0663"):
        with pytest.raises(FormatError, match="invalid syntax"):
            parse_volume_id(text)
    for text in (str(2**64), "9" * 100_000):
        with pytest.raises(FormatError, match="value out of range"):
            parse_volume_id(text)


def test_a_comma_separates_volume_and_needle() -> None:
    assert split_fid("3,01637037d6") == ("3", "01637037d6")
    for text in ("", "301637037d6", ",01637037d6"):
        with pytest.raises(FormatError, match=r"Wrong fid format\."):
            split_fid(text)


def test_a_collection_may_have_underscores_in_its_name() -> None:
    for collection, volume_id, name in (("", 7, "7"), ("pics", 7, "pics_7"), ("pics_2", 9, "pics_2_9")):
        assert base_name(collection, volume_id) == name
        assert parse_base_name(name) == (collection, volume_id)
    with pytest.raises(FormatError):
        parse_base_name("pics_")
