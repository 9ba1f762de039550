"""The fallback decoder: the same as the fast one where both accept, and bounded work on hostile input."""

from contextlib import suppress
from typing import Any

import cbor2
import pytest
from cbor2 import CBORSimpleValue, undefined
from hypothesis import example, given
from hypothesis import strategies as st

from less_sync.sync.protocol.errors import MalformedCbor
from less_sync.sync.protocol.frames import _TAGS
from less_sync.sync.protocol.scanner import DEPTH_MAX, REFUSED, scan, scan_frame
from tests.sync.protocol.cbor_examples import (
    CountedBytes,
    anything,
    encoded_plain,
    mutated,
    nested,
    same,
)


def strict(data: bytes) -> Any:
    """What the fast path makes of `data`."""
    _TAGS.last = 0
    return cbor2.loads(
        data,
        semantic_decoders=_TAGS,
        max_depth=DEPTH_MAX,
        allow_duplicate_keys=False,
        strict_hashable_types=True,
    )


@given(encoded_plain)
def test_what_strict_cbor2_reads_the_scanner_reads_alike(data: bytes) -> None:
    assert same(scan(data), strict(data))


@given(anything)
@example(bytes.fromhex("7f61c361a9ff"))
@example(bytes.fromhex("5f5f4161ffff"))
@example(bytes.fromhex("f81f"))
@example(bytes.fromhex("1fff"))
@example(bytes.fromhex("dfff"))
@example(bytes.fromhex("bf01ff"))
@example(bytes.fromhex("82d8404101d8404101"))
@example(bytes.fromhex("d840d840420102"))
@example(bytes.fromhex("d8405f4101d8404102ff"))
@example(bytes.fromhex("d840"))
@example(b"")
def test_no_bytes_make_the_two_decoders_disagree(data: bytes) -> None:
    try:
        fast = strict(data)
    except cbor2.CBORDecodeError:
        fast = REFUSED
    try:
        slow = scan(data)
    except MalformedCbor:
        assert fast is REFUSED
        return
    assert fast is REFUSED or same(slow, fast)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("1bffffffffffffffff", 2**64 - 1),
        ("3bffffffffffffffff", -(2**64)),
        ("1900ff", 255),
        ("4101", b"\1"),
        ("5f41014102ff", b"\1\2"),
        ("5fff", b""),
        ("7f61616162ff", "ab"),
        ("62c3a9", "é"),
        ("9f0102ff", [1, 2]),
        ("80", []),
        ("bf616101ff", {"a": 1}),
        ("a0", {}),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("f7", undefined),
        ("e0", CBORSimpleValue(0)),
        ("f820", CBORSimpleValue(32)),
        ("f93c00", 1.0),
        ("fa3fc00000", 1.5),
        ("fb3ff8000000000000", 1.5),
        ("0000", 0),
    ],
)
def test_items_are_read_and_what_follows_is_ignored(data: str, value: object) -> None:
    assert same(scan(bytes.fromhex(data) + b"\xff"), value)


@pytest.mark.parametrize("tag", ["d840", "d90040", "da00000040", "db0000000000000040"])
@pytest.mark.parametrize(("text", "value"), [("40", b""), ("4101", b"\1"), ("5f41014102ff", b"\1\2")])
def test_tag_64_directly_around_a_byte_string_is_that_byte_string(tag: str, text: str, value: bytes) -> None:
    data = bytes.fromhex(tag + text)
    assert scan(data) == strict(data) == value
    # Twice the same, which may be one and the same object, and in all kinds of places.
    twice = b"\xa1\x61k\x82" + data + data
    assert scan(twice) == {"k": [value, value]}


@pytest.mark.parametrize(
    "data",
    [
        "c06161",  # tags
        "d9d9f7a0",
        "d8414101",
        "d8406161",  # 64 around anything but a byte string
        "d84080",
        "d840a0",
        "d84000",
        "d840d8404101",
        "d840c24101",
        "c2d8404101",
        "c2c2c240",
        "a10102",  # keys of other types
        "a1f601",
        "a1810001",
        "a1c0616101",
        "a2616101616102",  # the same key twice
        "bf616101616102ff",
        "a24161014161f6",
        "a27f6161ff01616102",
    ],
)
def test_odd_items_are_refused_as_a_value_and_do_no_harm_to_their_neighbours(data: str) -> None:
    assert scan(bytes.fromhex(data)) is REFUSED
    assert scan(bytes.fromhex("8301" + data + "03")) == [1, REFUSED, 3]
    assert scan(bytes.fromhex("a2616b" + data + "616c03")) == {"k": REFUSED, "l": 3}


@pytest.mark.parametrize(
    "data",
    [
        "",
        "ff",
        "18",
        "1c",
        "1d00",
        "1e00",
        "1f",
        "3f",
        "df00ff",
        "c0",
        "4201",
        "5f41",
        "5f01ff",
        "5f6161ff",
        "7f4161ff",
        "5f5f4101ffff",
        "61ff",
        "63eda080",
        "7f61c361a9ff",
        "82",
        "8201",
        "9f01",
        "81ff",
        "a1",
        "a16161",
        "a161ff01",
        "a1ff01",
        "bf6161ff",
        "bf616101",
        "f818",
        "f81f",
        "f8",
        "f9",
        "fc",
        "9bffffffffffffffff",
        "bbffffffffffffffff",
        "bb8000000000000000",
        "5bffffffffffffffff",
        "7b7fffffffffffffff",
        "a201" + "02",
    ],
)
def test_broken_bytes_are_malformed_wherever_they_stand(data: str) -> None:
    for broken in (data, "81" + data, "a16161" + data, "c1" + data, "a101" + data):
        with pytest.raises(MalformedCbor):
            scan(bytes.fromhex(broken))


def test_nesting_is_accepted_to_the_limit_and_refused_beyond() -> None:
    assert scan(nested(DEPTH_MAX)) == strict(nested(DEPTH_MAX))
    for deep in (nested(DEPTH_MAX + 1), b"\xc0" * (DEPTH_MAX + 1) + b"\x00"):
        with pytest.raises(MalformedCbor):
            scan(deep)
    assert scan(b"\xc0" * DEPTH_MAX + b"\x00") is REFUSED
    with pytest.raises(MalformedCbor):
        scan_frame(b"\xa1\x61k" + nested(DEPTH_MAX))
    assert scan_frame(b"\xa1\x61k" + nested(DEPTH_MAX - 1))


def test_items_are_counted_to_the_limit() -> None:
    assert scan(b"\x83\x01\x02\x03", items_max=6) == [1, 2, 3]
    with pytest.raises(MalformedCbor):
        scan(b"\x83\x01\x02\x03", items_max=5)
    with pytest.raises(MalformedCbor):
        scan(b"\x7f" + b"\x61a" * 3 + b"\xff", items_max=4)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "80",
        "f6",
        "ff",
        "d9d9f7a0",
        "a10102",
        "a1416101",
        "a26474797065006474797065" + "00",
        "a2626964616162696461" + "62",
        "a2666d6574686f646078" + "00",
        "bf",
        "bf6474797065ff",
    ],
)
def test_a_frame_that_is_no_map_of_text_keys_or_names_a_header_twice_is_malformed(data: str) -> None:
    with pytest.raises(MalformedCbor):
        scan_frame(bytes.fromhex(data))


def test_a_frame_may_repeat_its_params_and_unknown_keys() -> None:
    assert scan_frame(bytes.fromhex("bf66706172616d73a06474797065006178016178026178" + "03" + "ff")) == {
        "params": {},
        "type": 0,
        "x": REFUSED,
    }
    twice = cbor2.dumps("params") + b"\xa0"
    assert scan_frame(b"\xa2" + twice + twice) == {"params": REFUSED}


HOSTILE = {
    "tags": b"\xc1" * 100_000,
    "arrays": b"\x81" * 100_000,
    "maps": b"\xa1\x60" * 50_000,
    "array as key": b"\xa1" * 100_000,
    "indefinite arrays": b"\x9f" * 100_000,
    "huge array": b"\x9b\x00\x00\x00\x00\xff\xff\xff\xff" + b"\x00" * 1000,
    "huge map": b"\xbb\x00\x00\x00\x00\xff\xff\xff\xff" + b"\x00" * 1000,
    "huge text": b"\x7b\x00\x00\x00\x00\xff\xff\xff\xff" + b"a" * 1000,
    "empty containers": b"\x9f" + b"\x80\xa0" * 20_000 + b"\xff",
    "chunks": b"\x7f" + b"\x61a" * 20_000 + b"\xff",
    "empty chunks": b"\x5f" + b"\x40" * 20_000 + b"\xff",
    "the same key": b"\xbf" + b"\x61a\x00" * 20_000 + b"\xff",
    "undefined": b"\x9f" + b"\xf7" * 20_000 + b"\xff",
    "colliding keys": b"\xbf"
    + b"".join(
        b"\x81\x1b" + (factor * (2**61 - 1) % 2**64).to_bytes(8, "big") + b"\x00" for factor in range(5000)
    )
    + b"\xff",
}


@pytest.mark.no_cover
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_is_looked_at_at_most_twice(data: bytes) -> None:
    for hostile in (data, b"\xa1\x61k" + data, b"\xa2\x61k\xc0" + data):
        counted = CountedBytes(hostile)
        with suppress(MalformedCbor):
            scan(counted)
        assert counted.visited <= 2 * len(hostile)
        counted.visited = 0
        with suppress(MalformedCbor):
            scan_frame(counted)
        assert counted.visited <= 2 * len(hostile)


@pytest.mark.parametrize("name", ["tags", "arrays", "maps", "huge array", "huge map", "huge text"])
def test_depth_and_declared_lengths_are_refused_at_once(name: str) -> None:
    counted = CountedBytes(HOSTILE[name])
    with pytest.raises(MalformedCbor):
        scan(counted)
    assert counted.visited <= 2 * DEPTH_MAX + 2


@given(st.integers(2, 50))
def test_keys_that_are_no_strings_are_never_hashed(pairs: int) -> None:
    # Were they hashed, arrays could not be: a list has no hash, and this would raise.
    assert scan(b"\xb8" + bytes((pairs,)) + b"\x81\x00\x00" * pairs) is REFUSED


@given(mutated)
def test_frames_are_scanned_or_malformed_and_nothing_else(data: bytes) -> None:
    for frame in (data, b"\xa1" + data, b"\xbf\x61k" + data + b"\xff"):
        try:
            scanned = scan_frame(frame)
        except MalformedCbor:
            continue
        assert all(type(key) is str for key in scanned)
