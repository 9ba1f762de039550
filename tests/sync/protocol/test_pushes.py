"""Large pushes read in one walk: the same as the decoder makes of them, or left to it."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from cbor2 import dumps

from less_sync.sync.protocol.codes import REQUEST_ID_TOO_LONG
from less_sync.sync.protocol.errors import ParamsError, RemoteProtocolError
from less_sync.sync.protocol.frames import FrameBounds, Request, decode_frame
from less_sync.sync.protocol.items import FRAME_ITEMS_MAX, count_items
from less_sync.sync.protocol.messages import PushParams, decode_params
from less_sync.sync.protocol.pushes import DEPTH_MIN, LARGE_BYTES, RECORD_ITEMS, read_push
from less_sync.sync.protocol.scanner import DEPTH_MAX

BY_DECODER = FrameBounds(depth=DEPTH_MIN - 1)
"""What is nested no deeper than this is read by the decoder, whatever its form."""

Change = dict[str, Any]


def change(blob_bytes: int = 300, expected: int = 0, *, dek: bytes | None = bytes(44)) -> Change:
    made: Change = {
        "id": "0123abcd-0000-4000-8000-0123456789AB",
        "blob": b"b" * blob_bytes,
        "expected_cursor": expected,
        "dek": dek,
    }
    return {name: value for name, value in made.items() if value is not None}


def frame(*changes: Change, id: str = "1", ucan: str | None = None) -> bytes:
    params: dict[str, Any] = {"space": "s"} | ({} if ucan is None else {"ucan": ucan})
    return dumps({"type": 0, "id": id, "method": "push", "params": params | {"changes": list(changes)}})


def read(data: bytes, *, items_max: int = FRAME_ITEMS_MAX) -> tuple[str, PushParams] | None:
    return read_push(data, items_max=items_max, depth_max=DEPTH_MAX)


def decoded(data: bytes) -> tuple[str, PushParams] | None:
    """What the decoder makes of it; None when it refuses."""
    try:
        request = decode_frame(data, BY_DECODER)
        assert isinstance(request, Request)
        return request.id, decode_params(PushParams, request.params)
    except (RemoteProtocolError, ParamsError):
        return None


USUAL = {
    "one record": frame(change()),
    "many records": frame(*[change(300 + n, n) for n in range(40)]),
    "blobs of all lengths": frame(*[change(n) for n in (300, 0, 23, 24, 255, 256, 65_535, 65_536, 300)]),
    "expected cursors": frame(
        *[change(300, n) for n in (23, 24, 255, 256, 1 << 32 - 1, -1, -24, -25, -70_000)]
    ),
    "some without a DEK": frame(change(), change(dek=None), change(), change(dek=None), change(dek=None)),
    "a DEK only at the end": frame(change(dek=None), change()),
    "a UCAN": frame(change(), ucan="u" * 300),
    "an empty UCAN": frame(change(), ucan=""),
    "long id": frame(change(), id="é" * 60),
    "more than 255 records": frame(*[change(400)] * 300),
    "more than 65,535 bytes": frame(change(70_000), ucan="u" * 70_000),
}


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_form_is_read_as_the_decoder_reads_it(name: str) -> None:
    taken = read(USUAL[name])
    assert taken is not None
    assert taken == decoded(USUAL[name])


def test_fields_of_the_protocol_in_every_order_but_one_are_left_to_the_decoder() -> None:
    fields = list(change().items())
    for turn in range(1, 4):
        turned = dict(fields[turn:] + fields[:turn])
        for changes in ([turned], [change(), turned], [turned, change()]):
            assert read(frame(*changes)) is None


USUAL_ONE = frame(change())
OTHERWISE: dict[str, bytes] = {
    "no frame": b"",
    "another type": USUAL_ONE.replace(b"dtype\x00", b"dtype\x02"),
    "another method": USUAL_ONE.replace(b"dpush", b"dpull"),
    "an id that is a number": USUAL_ONE.replace(b"bid\x611", b"bid\x01"),
    "an id that is an array": USUAL_ONE.replace(b"bid\x611", b"bid\x80"),
    "an id longer than any frame": USUAL_ONE.replace(b"bid\x611", b"bid\x7b" + b"\xff" * 8),
    "an id that is no UTF-8": USUAL_ONE.replace(b"bid\x611", b"bid\x61\xff"),
    "a record id that is no UTF-8": USUAL_ONE.replace(b"0123abcd", b"0123abc\xff"),
    "a later record id that is no UTF-8": frame(change(), change()).replace(b"\x78$0123", b"\x78$\xff123"),
    "another member of params": USUAL_ONE.replace(b"\xa2espace", b"\xa3dmore\x01espace"),
    "a map of more": USUAL_ONE.replace(b"\xa2espace", b"\xa4espace"),
    "no changes": frame(),
    "changes that are a map": USUAL_ONE.replace(b"gchanges\x81", b"gchanges\xa1"),
    "more changes than there are": USUAL_ONE.replace(b"gchanges\x81", b"gchanges\x82"),
    "fewer": frame(change(), change()).replace(b"gchanges\x82", b"gchanges\x81"),
    "very many": USUAL_ONE.replace(b"gchanges\x81", b"gchanges\x9a\xff\xff\xff\xff"),
    "something behind it": USUAL_ONE + b"\xf6",
    "small records": frame(*[change(1) for _ in range(500)]),
    "a tombstone": frame({k: v for k, v in change().items() if k != "blob"}, change()),
    "a tombstone later": frame(change(), {k: v for k, v in change().items() if k != "blob"}),
    "four fields without a DEK": frame(change(dek=None)).replace(b"\xa3bid", b"\xa4bid"),
    "three with one": frame(change()).replace(b"\xa4bidx", b"\xa3bidx"),
    "three with one, usual else": frame(change(), change()).replace(b"\xa4bidx", b"\xa3bidx", 1),
    "another DEK": frame(change(dek=bytes(45))),
    "a cursor of eight bytes": frame(change(300, 1 << 40)),
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_whatever_else_there_is_is_left_to_the_decoder(name: str) -> None:
    assert read(OTHERWISE[name]) is None


def test_nothing_that_is_cut_off_is_read() -> None:
    for name in ("one record", "some without a DEK", "a UCAN"):
        data = USUAL[name]
        for end in range(len(data)):
            assert read(data[:end]) is None


def test_what_is_damaged_is_read_as_the_decoder_reads_it_or_not_at_all() -> None:
    chance = random.Random(15)
    frames = [USUAL[name] for name in ("one record", "some without a DEK", "a UCAN", "expected cursors")]
    taken = 0
    for _ in range(6000):
        data = bytearray(chance.choice(frames))
        at = chance.randrange(len(data))
        data[at] = chance.choice((data[at] ^ 1 << chance.randrange(8), chance.randrange(256)))
        result = read(bytes(data))
        if result is not None:
            taken += 1
            assert result == decoded(bytes(data)), bytes(data)
    assert taken > 1000  # bytes of blobs, keys and texts


def test_records_count_for_no_more_than_a_frame_may_have() -> None:
    data = USUAL["many records"]
    items = count_items(data, FRAME_ITEMS_MAX)
    assert 40 * RECORD_ITEMS < items <= 40 * RECORD_ITEMS + 64
    assert read(data, items_max=items - 1) is None
    assert read(data, items_max=40 * RECORD_ITEMS + 64) is not None


def test_whoever_allows_little_depth_is_served_by_the_decoder() -> None:
    assert read_push(USUAL["one record"], items_max=FRAME_ITEMS_MAX, depth_max=DEPTH_MIN) is not None
    assert read_push(USUAL["one record"], items_max=FRAME_ITEMS_MAX, depth_max=DEPTH_MIN - 1) is None


LARGE: dict[str, Callable[[str], bytes]] = {
    "usual": lambda request: frame(change(LARGE_BYTES), id=request),
    "not usual": lambda request: frame(change(LARGE_BYTES, dek=bytes(1)), id=request),
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_frames_are_read_either_way_with_the_bound_of_ids(kind: str) -> None:
    request = decode_frame(LARGE[kind]("7"))
    assert isinstance(request, Request)
    assert (request.id, request.method) == ("7", "push")
    assert isinstance(request.params, PushParams) is (kind == "usual")
    assert decode_params(PushParams, request.params).changes[0].blob == b"b" * LARGE_BYTES
    with pytest.raises(RemoteProtocolError) as caught:
        decode_frame(LARGE[kind]("é" * 129))
    assert caught.value.close == REQUEST_ID_TOO_LONG
