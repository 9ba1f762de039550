"""The map of needles, against a plain one, and the two ways of loading it against each other."""

import random

import pytest

from less_sync.volume.engine.index_walk import (
    WINDOW_ROWS,
    Walked,
    walk_ascending,
    walk_index,
    walk_large,
    walk_small,
)
from less_sync.volume.engine.needle_map import MERGE_AFTER, Counters, NeedleMap, Settled
from less_sync.volume.format.rows import OFFSETS_BYTES, ROW_BYTES, encode_row

IDS = (0, 1, 2, 3, 2**32, 2**64 - 1)
SIZES = (-1, -1, 0, 5, 1000, -7)


def _rows(chance: random.Random, count: int, width: int) -> bytes:
    """Rows of few ids, so that they meet."""
    reach = OFFSETS_BYTES[width] // 8
    return b"".join(
        encode_row(
            chance.choice(IDS),
            chance.choice((0, 8, 8 * chance.randrange(reach))),
            chance.choice(SIZES),
            width,
        )
        for _ in range(count)
    )


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("width", [4, 5])
def test_both_ways_of_reading_an_index_find_the_same(width: int, backward: bool) -> None:
    chance = random.Random(7)
    for count in range(1, 40):
        rows = _rows(chance, count, width)
        expected = walk_small(rows, width, 3, backward=backward)
        assert walk_large(rows, width, 3, backward=backward) == expected


@pytest.mark.parametrize("width", [4, 5])
def test_an_index_of_new_files_alone_needs_no_numpy(width: int) -> None:
    chance, reach = random.Random(13), OFFSETS_BYTES[width] // 8
    count = WINDOW_ROWS + 3
    ids, units = (sorted(chance.sample(range(1, limit), count)) for limit in (1 << 63, reach))
    rows = b"".join(
        encode_row(id_ * 2, unit * 8, chance.choice((1, 5, 1 << 30)), width)
        for id_, unit in zip(ids, units, strict=True)
    )
    found = walk_ascending(rows + b"part of a row", width, 3)
    assert found == walk_large(rows, width, 3, backward=False)
    assert found == walk_large(rows, width, 3, backward=True)
    few = rows[: 40 * ROW_BYTES[width]]
    for version in (1, 2, 3):
        assert walk_ascending(few, width, version) == walk_small(few, width, version, backward=False)
    last = rows[-ROW_BYTES[width] :]
    top_id, top = (1 << 64) - 1, 8 * (reach - 1)
    assert walk_ascending(rows + encode_row(top_id, top, 5, width), width, 3) is not None
    for odd in (top_id, top, -1), (top_id, top, 0), (top_id, 0, 5), (3, top, 5), (top_id, 8, 5):
        assert walk_ascending(rows + encode_row(*odd, width), width, 3) is None
    assert walk_ascending(rows + last, width, 3) is None
    window_end = WINDOW_ROWS * ROW_BYTES[width]
    swapped = rows[window_end:] + rows[:window_end]
    assert walk_ascending(swapped, width, 3) is None


def test_an_index_is_counted_forward_and_backward_as_existing_servers_do() -> None:
    rows = b"".join(
        encode_row(*row, 4)
        for row in (
            (1, 8, 10),
            (2, 48, 20),
            (1, 96, 30),
            (3, 144, 0),
            (2, 176, -1),
            (3, 208, -1),
            (9, 240, -1),
        )
    )
    forward = walk_index(rows, 4, 3, backward=False)
    assert forward.counters == Counters(4, 60, 4, 30, 9)
    assert walk_index(rows, 4, 3, backward=True).counters == Counters(7, 60, 6, 30, 9)
    needles = NeedleMap(4, forward.settled, forward.counters)
    assert [needles.get(id) for id in (1, 2, 3, 9)] == [(96, 30), (48, -20), (144, -1), None]
    assert forward.furthest_end == 96 + 64


@pytest.mark.parametrize("width", [4, 5])
def test_the_map_behaves_like_a_plain_one_however_often_it_is_merged(width: int) -> None:
    chance = random.Random(11)
    plain: dict[int, tuple[int, int]] = {}
    needles = NeedleMap(width)
    for step in range(3_000):
        id = chance.randrange(40) * (1 << 58 if chance.random() < 0.5 else 1)
        if chance.random() < 0.7:
            offset, size = 8 * chance.randrange(1, OFFSETS_BYTES[width] // 8), chance.randrange(1 << 31)
            needles.put(id, offset, size)
            plain[id] = (offset, size)
        else:
            offset, size = plain.get(id, (0, -1))
            assert needles.delete(id) == max(size, 0)
            if size >= 0:
                plain[id] = (offset, -size or -1)
        if step % 500 == 100:
            merge = needles.start_merge()
        if step % 500 == 200:
            assert {known: needles.get(known) for known in plain} == plain
            needles.finish_merge(merge.run())
    assert {id: needles.get(id) for id in plain} == plain


def test_a_merge_that_fails_loses_nothing() -> None:
    needles = NeedleMap()
    needles.put(1, 8, 1)
    needles.put(2, 48, 2)
    needles.start_merge()
    needles.put(1, 96, 3)
    needles.abandon_merge()
    assert (needles.get(1), needles.get(2)) == ((96, 3), (48, 2))
    merge = needles.start_merge()
    needles.finish_merge(merge.run())
    assert (needles.get(1), needles.get(2)) == ((96, 3), (48, 2))


def test_offsets_of_4_bytes_wrap_and_those_of_5_do_not() -> None:
    beyond = OFFSETS_BYTES[4] + 8
    for width, offset in ((4, 8), (5, beyond)):
        needles = NeedleMap(width)
        needles.put(1, beyond, 1)
        assert needles.get(1) == (offset, 1)


@pytest.mark.parametrize(("width", "entry_bytes"), [(4, 16), (5, 17)])
def test_a_settled_entry_costs_16_or_17_bytes(width: int, entry_bytes: int) -> None:
    count = 60_000
    walked: Walked = walk_index(
        b"".join(encode_row(id, 8 * id, 1, width) for id in range(1, count + 1)), width, 3, backward=False
    )
    settled = walked.settled
    held = sum(array.itemsize * len(array) for array in (settled.ids, settled.values, settled.high))
    allocated = sum(array.__sizeof__() for array in (settled.ids, settled.values, settled.high))
    assert held == count * entry_bytes
    assert allocated <= held * 1.15


def test_a_merge_is_wanted_when_enough_came_and_not_while_one_runs() -> None:
    needles = NeedleMap()
    for id in range(1, MERGE_AFTER):
        needles.put(id, 8, 1)
    wanted = [needles.wants_merge]
    needles.put(MERGE_AFTER, 8, 1)
    wanted.append(needles.wants_merge)
    merge = needles.start_merge()
    wanted.append(needles.wants_merge)
    assert wanted == [False, True, False]
    settled = merge.run()
    assert isinstance(settled, Settled)
    assert len(settled.ids) == MERGE_AFTER
    needles.finish_merge(settled)
    assert needles.get(5) == (8, 1)
