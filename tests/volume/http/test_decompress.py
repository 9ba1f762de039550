"""Gzip streams that are sent inflated."""

import asyncio
import gzip
import random
import tracemalloc

import pytest

from less_sync.volume.http.content import Held
from less_sync.volume.http.decompress import (
    AT_ONCE_BYTES_MAX,
    HELD_BYTES_MAX,
    SLICE_BYTES,
    STORED_AT_ONCE_BYTES_MAX,
    Inflated,
    Measured,
    TooLongError,
    inflate,
    inflate_at_once,
    inflated,
    is_gzip,
    measure,
)
from less_sync.volume.http.heavy import BusyError, HeavyWork
from less_sync.volume.http.request import Request
from tests.volume.http.connections import until

_TEXT = random.Random(3).randbytes(100_000) + bytes(700_000) + random.Random(4).randbytes(50_000)
_PLENTY = 1 << 30
ASKED = Request("GET", b"", "/", "")


def _measure(stored: bytes, held: int = _PLENTY, most: int = _PLENTY) -> Measured:
    return measure(lambda start, length: stored[start : start + length], len(stored), held, most)


def test_a_stream_is_told_by_its_first_two_bytes() -> None:
    told = [is_gzip(start) for start in (b"\x1f\x8b", memoryview(b"\x1f\x8b\x00"), b"\x1f", b"", b"PK")]
    assert told == [True, True, False, False, False]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_stream_of_one_or_more_members_is_inflated(level: int) -> None:
    one = gzip.compress(_TEXT, level)
    assert _measure(one) == Measured(len(_TEXT), _TEXT)
    assert _measure(one + gzip.compress(b"") + one) == Measured(2 * len(_TEXT), _TEXT * 2)


def test_pieces_are_small() -> None:
    stored = gzip.compress(_TEXT)
    pieces = list(inflate(lambda start, length: stored[start : start + length], len(stored)))
    assert b"".join(pieces) == _TEXT
    assert max(map(len, pieces)) <= 256 << 10


def test_a_damaged_stream_holds_nothing() -> None:
    whole = gzip.compress(_TEXT)
    for stored in (
        whole[:-1],
        whole[:-9],
        whole[:50],
        whole[:2],
        b"\x1f\x8bgarbage",
        whole + b"\0\0",
        whole + b"x",
    ):
        assert _measure(stored) == Measured(0, b"")
    flipped = bytearray(whole)
    flipped[-6] ^= 1
    assert _measure(bytes(flipped)) == Measured(0, b"")


def test_every_cut_and_every_flipped_bit_of_a_short_stream_ends() -> None:
    whole = gzip.compress(b"hello hello hello" * 9)
    assert {_measure(whole[:cut]) for cut in range(len(whole))} == {Measured(0, b"")}
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        assert _measure(bytes(flipped), most=10_000).size in (0, 153)


def test_a_bomb_is_counted_without_being_kept() -> None:
    bomb = gzip.compress(bytes(40 << 20), 9)
    tracemalloc.start()
    try:
        assert _measure(bomb, held=1 << 20) == Measured(40 << 20, None)
        with pytest.raises(TooLongError):
            _measure(bomb, held=1 << 20, most=10 << 20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_many_short_members_are_counted() -> None:
    assert _measure(gzip.compress(b"a") * 5000, held=4999) == Measured(5000, None)


def test_what_is_short_is_inflated_at_once() -> None:
    assert [bytes(one.data) for one in [inflate_at_once(Held(gzip.compress(b"abc")))] if one] == [b"abc"]
    assert [one.size for one in [inflate_at_once(Held(b"\x1f\x8bno"))] if one] == [0]
    assert inflate_at_once(Held(gzip.compress(bytes(AT_ONCE_BYTES_MAX + 1)))) is None
    assert inflate_at_once(Held(gzip.compress(_TEXT, 0)[: STORED_AT_ONCE_BYTES_MAX + 1])) is None


async def test_what_is_long_is_inflated_while_it_is_sent() -> None:
    text = bytes(HELD_BYTES_MAX) + _TEXT
    content = await inflated(Held(gzip.compress(text)), HeavyWork(), ASKED)
    assert isinstance(content, Inflated)
    assert content.size == len(text)
    for start, length in ((0, len(text)), (len(text) - 10, 10), (HELD_BYTES_MAX + 5, 300_000), (7, 0)):
        pieces = [piece async for piece in content.stream(start, length)]
        assert b"".join(pieces) == text[start : start + length]


async def test_what_is_neither_is_kept() -> None:
    content = await inflated(Held(gzip.compress(_TEXT)), HeavyWork(), ASKED)
    assert isinstance(content, Held)
    assert content.data == _TEXT


async def test_what_is_very_long_waits_for_its_turn_and_what_is_not_does_not() -> None:
    work = HeavyWork()
    async with work.turn(ASKED), work.turn(ASKED):
        long = asyncio.create_task(inflated(Held(gzip.compress(bytes(SLICE_BYTES + 1), 1)), work, ASKED))
        await until(lambda: work.waiting == 1)
        assert (await inflated(Held(gzip.compress(_TEXT)), work, ASKED)).size == len(_TEXT)
    assert (await long).size == SLICE_BYTES + 1


async def test_nothing_long_is_inflated_for_a_client_that_is_gone() -> None:
    gone, stored = Request("GET", b"", "/", ""), Held(gzip.compress(bytes(SLICE_BYTES + 1), 1))
    content = await inflated(stored, HeavyWork(), gone)
    gone.gone = True
    with pytest.raises(BusyError):
        await anext(content.stream(SLICE_BYTES + 1, 1))
    with pytest.raises(BusyError):
        await inflated(stored, HeavyWork(), gone)
