"""Items are counted before anything is decoded: exactly, and no further than the bound."""

import tracemalloc
from collections.abc import Iterable
from random import Random
from typing import Any
from uuid import UUID

import pytest
from cbor2 import dumps
from hypothesis import given
from hypothesis import strategies as st

from less_sync.sync.protocol.cbor import ARRAY, BYTES, MAP, NEGATIVE, SIMPLE, TEXT, UNSIGNED, head, text
from less_sync.sync.protocol.codes import INVALID_FRAME
from less_sync.sync.protocol.errors import MalformedCbor, RemoteProtocolError
from less_sync.sync.protocol.frames import (
    FRAME_BYTES_MAX,
    SERVER_BOUNDS,
    FrameBounds,
    Notification,
    Request,
    decode_frame,
    decode_server_frame,
)
from less_sync.sync.protocol.items import CONTAINER_ITEMS, count_items
from less_sync.sync.protocol.messages import PushParams, decode_params
from less_sync.sync.protocol.pushes import DEPTH_MIN
from less_sync.sync.protocol.scanner import scan
from tests.sync.protocol.cbor_examples import CountedBytes, anything, same

ENDLESS = 1 << 40
UNBOUNDED = FrameBounds(items=ENDLESS, odd_items=ENDLESS)
START = b"\xa4dtype\x00bid\x611fmethoddpushfparams"
"""The start of a request: everything but its params. It counts for ten."""

Counted = tuple[bytes, int]
"""An encoding and what it counts for."""


def joined(start: bytes, own: int, parts: Iterable[Counted], end: bytes = b"") -> Counted:
    parts = list(parts)
    return (
        start + b"".join(data for data, _ in parts) + end,
        own + sum(count for _, count in parts) + len(end),
    )


def wide(major: int, width: int, length: int) -> bytes:
    """A head with a length of `width` bytes, shortest or not."""
    return bytes((major << 5 | 23 + width.bit_length(),)) + length.to_bytes(width, "big")


_widths = st.sampled_from((1, 2, 4, 8))
_scalars = (
    st.builds(head, st.sampled_from((UNSIGNED, NEGATIVE)), st.integers(0, 2**64 - 1))
    | st.builds(wide, st.sampled_from((UNSIGNED, NEGATIVE)), _widths, st.integers(0, 255))
    | st.sampled_from(
        (b"\xf4", b"\xf5", b"\xf6", b"\xf7", b"\xf9\x3c\x00", b"\xfa" + b"0" * 4, b"\xfb" + b"0" * 8)
    )
    | st.binary(max_size=300).map(lambda data: head(BYTES, len(data)) + data)
    | st.text(max_size=60).map(text)
    | st.builds(lambda data, width: wide(BYTES, width, len(data)) + data, st.binary(max_size=30), _widths)
    | st.builds(lambda word, width: wide(TEXT, width, len(word)) + word, st.just(b"abc"), _widths)
).map(lambda data: (data, 1))
_tags = st.sampled_from((b"\xc0", b"\xd8\x18", b"\xd9\xd9\xf7", b"\xda" + b"0" * 4, b"\xdb" + b"0" * 8))
_simple = st.sampled_from(
    [bytes((SIMPLE << 5 | low,)) for low in range(20)] + [b"\xf8\x20", b"\xf8\xff"]
).map(lambda data: (data, CONTAINER_ITEMS))
_pieces = st.lists(st.binary(max_size=30), max_size=4).map(
    lambda pieces: joined(b"\x5f", 1, ((head(BYTES, len(one)) + one, 1) for one in pieces), b"\xff")
)


def _containers(inner: st.SearchStrategy[Counted]) -> st.SearchStrategy[Counted]:
    items = st.lists(inner, max_size=5)
    pairs = items.map(lambda items: items[: len(items) // 2 * 2])
    return (
        items.map(lambda items: joined(head(ARRAY, len(items)), CONTAINER_ITEMS, items))
        | items.map(lambda items: joined(b"\x9f", CONTAINER_ITEMS, items, b"\xff"))
        | st.builds(
            lambda items, width: joined(wide(ARRAY, width, len(items)), CONTAINER_ITEMS, items),
            items,
            _widths,
        )
        | pairs.map(lambda items: joined(head(MAP, len(items) // 2), CONTAINER_ITEMS, items))
        | pairs.map(lambda items: joined(b"\xbf", CONTAINER_ITEMS, items, b"\xff"))
        | st.builds(lambda tag, one: joined(tag, CONTAINER_ITEMS, [one]), _tags, inner)
    )


counted = st.recursive(_scalars | _simple | _pieces, _containers, max_leaves=30)


def value_items(value: Any) -> int:
    """Items of a decoded value, as far as they can be told: chunks and breaks are gone."""
    if isinstance(value, list):
        return CONTAINER_ITEMS + sum(map(value_items, value))
    if isinstance(value, dict):
        return CONTAINER_ITEMS + sum(value_items(key) + value_items(one) for key, one in value.items())
    return 1


def outcome_of(data: bytes, bounds: FrameBounds) -> object:
    try:
        return decode_frame(data, bounds)
    except RemoteProtocolError as error:
        return error.close


# Counting.


@given(counted)
def test_every_kind_of_item_is_counted_and_a_container_is_three(example: Counted) -> None:
    data, count = example
    assert count_items(data, ENDLESS) == count
    assert count_items(data * 3, ENDLESS) == 3 * count


@given(counted)
def test_the_scanner_counts_alike(example: Counted) -> None:
    data, count = example
    scan(data, items_max=count)
    with pytest.raises(MalformedCbor):
        scan(data, items_max=count - 1)


@given(anything)
def test_no_bytes_are_decoded_to_more_items_than_were_counted(data: bytes) -> None:
    try:
        value = scan(data, items_max=ENDLESS)
    except MalformedCbor:
        return
    assert value_items(value) <= count_items(data, ENDLESS)
    scan(data, items_max=count_items(data, ENDLESS))


@pytest.mark.parametrize(
    "end", ["", "1c", "5d", "fe", "58", "5805", "7affffffff", "5bffffffffffffffff", "19"]
)
def test_counting_stops_where_no_item_can_follow(end: str) -> None:
    broken = bytes.fromhex(end)
    assert 3 <= count_items(b"\x01\x02\x03" + broken, ENDLESS) <= 4
    if broken[:1] in (b"\x1c", b"\x5d", b"\xfe"):
        assert count_items(b"\x01\x02\x03" + broken + b"\x01\x02", ENDLESS) == 3


# Records.


def record(
    number: int, *, blob: bytes | None = None, cursor: int = 7, dek: bytes | None = None
) -> dict[str, object]:
    """One change of a push, its keys in the order in which existing clients write them."""
    change: dict[str, object] = {"id": str(UUID(int=number << 90 | number))}
    if blob is not None:
        change["blob"] = blob
    change["expected_cursor"] = cursor
    if dek is not None:
        change["dek"] = dek
    return change


def push(changes: list[dict[str, object]]) -> bytes:
    return START + dumps({"space": "s", "changes": changes})


blobs = st.none() | st.sampled_from((0, 1, 23, 24, 40, 255, 256, 70_000)).map(bytes) | st.binary(max_size=300)
cursors = st.sampled_from((0, 23, 24, 255, 256, 65_536, 2**32, 2**63 - 1, -1, -(2**40)))
deks = st.none() | st.binary(min_size=44, max_size=44) | st.binary(max_size=100)


@given(
    st.lists(
        st.tuples(
            st.builds(record, st.integers(0, 30), blob=blobs, cursor=cursors, dek=deks), st.integers(1, 30)
        ),
        max_size=12,
    )
)
def test_records_are_counted_alike_one_by_one_and_in_runs(runs: list[tuple[dict[str, object], int]]) -> None:
    changes = [change for change, times in runs for _ in range(times)]
    assert count_items(dumps(changes), ENDLESS) == value_items(changes)
    apart = b"".join(dumps(change) + b"\x00" for change in changes)
    assert count_items(apart, ENDLESS) == sum(value_items(change) + 1 for change in changes)


@given(st.lists(st.permutations(["id", "blob", "dek", "x"]), max_size=40))
def test_fields_in_any_order_are_counted(orders: list[list[str]]) -> None:
    whole = {"id": str(UUID(int=1)), "blob": bytes(20), "dek": bytes(44), "x": b"\xa2bidx$"}
    changes = [{name: whole[name] for name in order} for order in orders]
    assert count_items(dumps(changes), ENDLESS) == value_items(changes)


def test_runs_of_records_are_stepped_over_eight_at_a_time() -> None:
    for changes in (
        [record(n, cursor=n) for n in range(4000)],
        [record(n, blob=bytes(n % 256)) for n in range(4000)],
        [record(n, blob=bytes(16), dek=bytes(44)) for n in range(4000)],
    ):
        data = CountedBytes(push(changes))
        assert count_items(data, ENDLESS) == 10 + CONTAINER_ITEMS + 3 + value_items(changes)
        assert data.visited <= 2 * 4000 // 8 + 300


@given(
    st.lists(
        st.tuples(st.permutations(["id", "blob", "dek", "expected_cursor"]), st.booleans(), st.booleans()),
        max_size=20,
    )
)
def test_records_with_large_blobs_are_counted_whatever_the_order_of_their_fields(
    shapes: list[tuple[list[str], bool, bool]],
) -> None:
    whole = {"id": str(UUID(int=1)), "blob": bytes(300), "dek": bytes(44), "expected_cursor": 70_000}
    changes = [
        {name: b"" if small and name == "blob" else whole[name] for name in order if keyed or name != "dek"}
        for order, keyed, small in shapes
    ]
    assert count_items(dumps(changes), ENDLESS) == value_items(changes)


def test_what_stands_between_large_blobs_is_stepped_over_at_once() -> None:
    for changes in (
        [record(n, blob=bytes(1024), cursor=n, dek=bytes(44)) for n in range(1000)],
        [record(n, blob=bytes(256), cursor=n) for n in range(1000)],
    ):
        data = CountedBytes(push(changes))
        assert count_items(data, ENDLESS) == 10 + CONTAINER_ITEMS + 3 + value_items(changes)
        assert data.visited <= 4 * 1000


@pytest.mark.no_cover
def test_forty_thousand_records_are_legal_with_any_fields_in_any_order() -> None:
    written = [
        [record(n, cursor=n) for n in range(40_000)],
        [record(n, blob=b"sealed" * 3, cursor=n) for n in range(40_000)],
        [record(n, blob=b"", cursor=3, dek=b"") for n in range(40_000)],
        [dict(reversed(record(n, blob=b"", cursor=3, dek=b"").items())) for n in range(40_000)],
    ]
    for changes in written:
        data = push(changes)
        assert len(data) <= FRAME_BYTES_MAX
        decoded = decode_frame(data)
        assert isinstance(decoded, Request)
        assert decoded.params == {"space": "s", "changes": changes}


def test_a_frame_full_of_the_smallest_records_is_legal() -> None:
    changes = [record(n, cursor=1) for n in range(71_000)]
    data = push(changes)
    assert FRAME_BYTES_MAX - 10_000 < len(data) <= FRAME_BYTES_MAX
    decoded = decode_frame(data)
    assert isinstance(decoded, Request)
    assert decoded.params == {"space": "s", "changes": changes}


@pytest.mark.parametrize("blob_bytes", [100, 300, 70_000, FRAME_BYTES_MAX - 1000])
def test_a_frame_of_ciphertext_is_legal_whatever_it_looks_like(blob_bytes: int) -> None:
    random = Random(blob_bytes)
    count = FRAME_BYTES_MAX // (blob_bytes + 200)
    changes = [
        record(n, blob=random.randbytes(blob_bytes), dek=random.randbytes(44)) for n in range(max(count, 1))
    ]
    params = {"space": "s", "changes": changes}
    decoded = decode_frame(push(changes))
    assert isinstance(decoded, Request)
    assert decode_params(PushParams, decoded.params) == decode_params(PushParams, params)
    counted = decode_frame(push(changes), FrameBounds(depth=DEPTH_MIN - 1))
    assert isinstance(counted, Request)
    assert counted.params == params


# Bounds.


@pytest.mark.no_cover
@given(st.lists(counted, min_size=1, max_size=6), st.integers(10, 200), st.integers(10, 200))
def test_within_the_bounds_a_frame_is_what_it_was_and_beyond_it_closes(
    parts: list[Counted], items: int, odd_items: int
) -> None:
    body, count = joined(head(ARRAY, len(parts)), CONTAINER_ITEMS, parts)
    data = START + body
    whole = outcome_of(data, UNBOUNDED)
    bounded = outcome_of(data, FrameBounds(items=items, odd_items=odd_items))
    if isinstance(bounded, Request):
        assert isinstance(whole, Request)
        assert same(bounded.params, whole.params)
        assert count + 10 <= max(items, odd_items)
    else:
        assert bounded == INVALID_FRAME
        assert whole == INVALID_FRAME or count + 10 > min(items, odd_items)


SMALL = FrameBounds(items=16_384, odd_items=2_048)
"""The bounds of a frame of 128 KiB, in proportion to those of 4 MiB."""

FRAME_BYTES = 8 * SMALL.items
ROOM = SMALL.items - 10 - CONTAINER_ITEMS
"""Items that an array may have which is all the params."""


def test_items_are_accepted_to_the_bound_and_refused_beyond() -> None:
    full = outcome_of(START + head(ARRAY, ROOM) + b"\x01" * ROOM, SMALL)
    assert isinstance(full, Request)
    assert full.params == [1] * ROOM
    assert outcome_of(START + head(ARRAY, ROOM + 1) + b"\x01" * (ROOM + 1), SMALL) == INVALID_FRAME
    # A map with a key that is no text: only the scanner reads it.
    room = SMALL.odd_items - 10 - 2 * CONTAINER_ITEMS - 2
    for more, accepted in ((0, True), (1, False)):
        data = START + head(ARRAY, room + more + 1) + b"\xa1\x00\x00" + b"\x01" * (room + more)
        assert isinstance(outcome_of(data, SMALL), Request) is accepted


@pytest.mark.no_cover
def test_a_client_takes_twice_as_much_from_a_server() -> None:
    start = b"\xa3dtype\x02fmethodaxfparams"
    room = SERVER_BOUNDS.items - 8 - CONTAINER_ITEMS
    frame = decode_server_frame(start + head(ARRAY, room) + b"\x01" * room)
    assert isinstance(frame, Notification)
    assert frame.params == [1] * room
    with pytest.raises(RemoteProtocolError) as caught:
        decode_server_frame(start + head(ARRAY, room + 1) + b"\x01" * (room + 1))
    assert caught.value.close == INVALID_FRAME


def filled(unit: bytes, *, major: int = ARRAY, frame_bytes: int = FRAME_BYTES) -> bytes:
    """A request as long as it may be, its params a container full of `unit`."""
    count = (frame_bytes - len(START) - 9) // len(unit)
    return START + head(major, count) + unit * count


def keyed(start: bytes) -> bytes:
    """A request whose params are a map with keys that start so and have eight bytes: multiples of 2**61 - 1,
    which all have one hash as integers."""
    count = (FRAME_BYTES - len(START) - 9) // (len(start) + 9)
    keys = (start + (n * (2**61 - 1) % 2**64).to_bytes(8, "big") + b"\x00" for n in range(count))
    return START + head(MAP, count) + b"".join(keys)


HOSTILE = {
    "empty maps": filled(b"\xa0"),
    "empty arrays": filled(b"\x80"),
    "nested arrays": filled(b"\x81" * 50 + b"\x00"),
    "maps of one": filled(b"\xa1\x60\x00"),
    "indefinite arrays": filled(b"\x9f\xff"),
    "small integers": filled(b"\x01"),
    "large integers": filled(b"\x1a\x01\x02\x03\x04"),
    "empty strings": filled(b"\x60"),
    "strings of one byte": filled(b"\x61a"),
    "strings of two bytes": filled(b"\x42ab"),
    "floats": filled(b"\xf9\x3c\x01"),
    "simple values": filled(b"\xe0"),
    "tags": filled(b"\xc1\x00"),
    "the same key": filled(b"\x61a\x00", major=MAP),
    "colliding integers": keyed(b"\x1b"),
    "arrays of colliding integers": keyed(b"\x81\x1b"),
    "byte strings as keys": keyed(b"\x48"),
    "pieces of a string": START + b"\x5f" + b"\x41a" * (FRAME_BYTES // 2 - 40) + b"\xff",
    "runs of records cut short": filled(dumps(record(1, blob=b"")) * 7 + b"\x01"),
    "4 MiB of maps": filled(b"\xa0", frame_bytes=FRAME_BYTES_MAX),
}


@pytest.mark.no_cover
@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_of_a_frame_beyond_the_bound_is_decoded(name: str) -> None:
    bounds = FrameBounds() if name == "4 MiB of maps" else SMALL
    # What the runner's own threads allocate meanwhile counts too, and now and then it is more than the bound.
    for attempts_left in (2, 1, 0):
        data = CountedBytes(HOSTILE[name])
        peak_bytes = peak_of_refusal(data, bounds)
        assert data.visited <= bounds.items + 1000
        if peak_bytes <= 64 * 1024:
            break
        assert attempts_left, f"{peak_bytes} bytes each time"
    assert count_items(data, bounds.items) <= bounds.items + 8 * (CONTAINER_ITEMS + 8)


def peak_of_refusal(data: bytes, bounds: FrameBounds) -> int:
    """The most bytes that are held while a frame is refused."""
    tracemalloc.start()
    try:
        assert outcome_of(data, bounds) == INVALID_FRAME
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


WORST = {
    "maps of one": (b"\xa1\x60\x00", 5),
    "arrays of one": (b"\x81\x19\x10\x00", 4),
    "empty maps": (b"\xa0", 3),
    "simple values": (b"\xf8\x20", 3),
    "large integers": (b"\x1a\x01\x02\x03\x04", 1),
    "strings of two bytes": (b"\x62ab", 1),
    "records": (dumps(record(1, cursor=300)), 7),
    "records with a blob": (dumps(record(1, blob=b"1", cursor=300)), 9),
}


@pytest.mark.parametrize("name", WORST)
def test_a_frame_within_the_bound_takes_at_most_72_bytes_an_item_decoded(name: str) -> None:
    """`docs/settings.md` says so. It is 36 MiB for the largest frame."""
    unit, items = WORST[name]
    count = ROOM // items
    data = START + head(ARRAY, count) + unit * count
    tracemalloc.start()
    try:
        assert isinstance(outcome_of(data, SMALL), Request)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes <= 72 * SMALL.items


def test_a_large_frame_that_only_the_scanner_can_read_is_refused_by_its_count() -> None:
    for count, accepted in ((SMALL.odd_items - 20, True), (ROOM - 10, False)):
        data = CountedBytes(START + head(ARRAY, count + 1) + b"\x01" * count + b"\xc1\x00")
        assert isinstance(outcome_of(data, SMALL), Request) is accepted
        # Counted, or scanned, but never both.
        assert data.visited <= count + 100
