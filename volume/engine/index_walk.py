"""What an index says, worked out once when it is loaded: the newest entry of each id, and the counters.

Three ways with one result: plain Python for small indexes; columns for large ones of volumes that only ever
got new files in the order of their ids; numpy for other large ones, because its import costs a tenth of a
second and 12 MiB. A test holds them against each other.

Forward, as existing servers count a volume that they load for writing: a live row counts as a file and its
size as content; a live row over a live one, and every deletion, counts as deleted, with the size of what was
live before it. Backward, as they count one that they load read-only: every row counts as a file; a deletion,
and a row of an id that a later row has too, counts as deleted.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from less_sync.volume.engine.columns import Columns, ascend, furthest_end
from less_sync.volume.engine.needle_map import Counters, Settled, pack
from less_sync.volume.format.needle import record_length, unpadded_length
from less_sync.volume.format.rows import ALIGNMENT, ROW_BYTES, TOMBSTONE_SIZE, Row, decode_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUMPY_ROWS_MIN: Final = 50_000
"""From here on numpy is faster although it has to be imported."""
WINDOW_ROWS: Final = 65_536
"""So many are looked at in one go: what is short of a few milliseconds lets others run between."""


@dataclass(slots=True)
class Walked:
    """Entries and counters of an index, and where the furthest record with data ends, by its rows."""

    settled: Settled
    counters: Counters
    furthest_end: int


def walk_index(rows: bytes, width: int, version: int, *, backward: bool) -> Walked:
    """Read whole rows; a part of one at the end is passed over. `backward` says how to count (above)."""
    if len(rows) < NUMPY_ROWS_MIN * ROW_BYTES[width]:
        return walk_small(rows, width, version, backward=backward)
    return walk_ascending(rows, width, version) or walk_large(rows, width, version, backward=backward)


def walk_small(rows: bytes, width: int, version: int, *, backward: bool) -> Walked:
    """In plain Python."""
    entries: dict[int, tuple[int, int]] = {}
    counters = Counters()
    furthest = 0
    for row in decode_rows(rows, width):
        if row.size > 0:
            furthest = max(furthest, row.offset + record_length(row.size, version))
        counters.max_key = max(counters.max_key, row.id)
        old_offset, old_size = entries.get(row.id, (0, TOMBSTONE_SIZE))
        if not backward:
            _count(counters, row, old_size)
        if not row.is_deletion:
            entries[row.id] = (row.offset, row.size)
        elif old_size >= 0:
            entries[row.id] = (old_offset, -old_size or TOMBSTONE_SIZE)
    if backward:
        _count_backward(counters, list(decode_rows(rows, width)))
    settled = Settled.empty()
    for id_ in sorted(entries):
        settled.append(id_, pack(*entries[id_]), width)
    return Walked(settled, counters, furthest)


def _count(counters: Counters, row: Row, old_size: int) -> None:
    if row.is_deletion:
        counters.deleted_count += 1
        counters.deleted_bytes += max(old_size, 0)
        return
    counters.file_count += 1
    counters.content_bytes += row.size
    if old_size >= 0:
        counters.deleted_count += 1
        counters.deleted_bytes += old_size


def _count_backward(counters: Counters, rows: list[Row]) -> None:
    seen: set[int] = set()
    for row in reversed(rows):
        counters.file_count += 1
        size = max(row.size, 0)
        counters.content_bytes += size
        if row.id in seen:
            counters.deleted_bytes += size
        if row.id in seen or row.is_deletion:
            counters.deleted_count += 1
        seen.add(row.id)


def walk_ascending(rows: bytes, width: int, version: int) -> Walked | None:
    """By columns, a window at a time; None of an index with a deletion, an empty file or an id out of order.

    Both ways of counting find the same in such an index.
    """
    settled, counters = Settled.empty(), Counters()
    furthest, window_bytes = 0, WINDOW_ROWS * ROW_BYTES[width]
    whole = len(rows) - len(rows) % ROW_BYTES[width]
    for start in range(0, whole, window_bytes):
        columns = Columns(rows[start : min(whole, start + window_bytes)], width)
        ids, sizes, units = columns.ids(), columns.sizes(), columns.units()
        if settled.ids and settled.ids[-1] >= ids[0]:
            return None
        if not (units[0] and min(sizes) > 0 and ascend(ids) and ascend(units)):
            return None
        settled.ids.extend(ids)
        settled.values.extend(columns.values())
        settled.high.extend(columns.high())
        counters.content_bytes += sum(sizes)
        furthest = max(furthest, furthest_end(units, sizes))
    counters.file_count, counters.max_key = len(settled.ids), settled.ids[-1]
    # Offsets are multiples of 8, so that the padding can be added once, behind the furthest body.
    return Walked(settled, counters, record_length(furthest, version))


def walk_large(rows: bytes, width: int, version: int, *, backward: bool) -> Walked:
    """With numpy. The stable sort by id puts what a row replaces right before it."""
    import numpy as np

    found = np.frombuffer(rows, _row_type(width), len(rows) // ROW_BYTES[width])
    ids = found["id"].astype(np.uint64)
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    units = found["low"].astype(np.uint64)
    if width == 5:
        units |= found["high"].astype(np.uint64) << np.uint64(32)
    size = found["size"].astype(np.int64)
    furthest = _furthest_end(units, size, version)
    units, size = units[order], size[order]
    del order
    live = (units != 0) & (size >= 0)
    same = np.zeros(len(ids), dtype=bool)
    same[1:] = ids[1:] == ids[:-1]
    counters = _counters(live, same, size, backward=backward)
    counters.max_key = int(ids[-1])
    return Walked(_newest(ids, units, size, live, same, width), counters, furthest)


def _row_type(width: int) -> Any:
    """How a row lies in an index."""
    high = [("high", "u1")] if width == 5 else []
    return [("id", ">u8"), ("low", ">u4"), *high, ("size", ">i4")]


def _furthest_end(units: "NDArray[np.uint64]", size: "NDArray[np.int64]", version: int) -> int:
    import numpy as np

    ends = units.astype(np.int64) * ALIGNMENT + _lengths(size, version)
    return int(np.max(ends[size > 0], initial=0))


def _lengths(size: "NDArray[np.int64]", version: int) -> "NDArray[np.int64]":
    """`format.needle.record_length` of each size."""
    unpadded = size + unpadded_length(0, version)
    return unpadded + ALIGNMENT - unpadded % ALIGNMENT


def _counters(
    live: "NDArray[np.bool_]", same: "NDArray[np.bool_]", size: "NDArray[np.int64]", *, backward: bool
) -> Counters:
    """Of rows sorted by id and age; `same` tells of each whether the row before it has its id."""
    import numpy as np

    with_data = np.maximum(size, 0)
    if backward:
        overtaken = np.zeros(len(same), dtype=bool)
        overtaken[:-1] = same[1:]
        return Counters(
            file_count=len(live),
            content_bytes=int(with_data.sum()),
            deleted_count=int((overtaken | ~live).sum()),
            deleted_bytes=int(with_data[overtaken].sum()),
        )
    # What stands right before a row is live in the map exactly when it is a live row.
    over_live = np.zeros(len(same), dtype=bool)
    over_live[1:] = same[1:] & live[:-1]
    replaced = with_data[np.flatnonzero(over_live) - 1]
    return Counters(
        file_count=int(live.sum()),
        content_bytes=int(with_data[live].sum()),
        deleted_count=int((~live).sum() + (live & over_live).sum()),
        deleted_bytes=int(replaced.sum()),
    )


def _newest(
    ids: "NDArray[np.uint64]",
    units: "NDArray[np.uint64]",
    size: "NDArray[np.int64]",
    live: "NDArray[np.bool_]",
    same: "NDArray[np.bool_]",
    width: int,
) -> Settled:
    """The entry of each id: its last live row, with the size negated if a deletion came after it."""
    import numpy as np

    places = np.arange(len(ids))
    firsts = np.flatnonzero(~same)
    lasts = np.append(firsts[1:], len(ids)) - 1
    last_live = np.maximum.accumulate(np.where(live, places, -1))[lasts]
    known = last_live >= firsts  # Of the others there are deletions only: nothing is known of them.
    lasts, chosen = lasts[known], last_live[known]
    gone = ~live[lasts]
    sizes = size[chosen]
    sizes[gone] = np.where(sizes[gone] > 0, -sizes[gone], TOMBSTONE_SIZE)
    return _settled(ids[chosen], units[chosen], sizes, width)


def _settled(
    ids: "NDArray[np.uint64]", units: "NDArray[np.uint64]", sizes: "NDArray[np.int64]", width: int
) -> Settled:
    """Entries of ascending ids in their arrays."""
    import numpy as np

    settled = Settled.empty()
    settled.ids.frombytes(ids.tobytes())
    low = (units & np.uint64(0xFFFFFFFF)) << np.uint64(32) | sizes.astype(np.uint32).astype(np.uint64)
    settled.values.frombytes(low.tobytes())
    if width == 5:
        settled.high.frombytes((units >> np.uint64(32)).astype(np.uint8).tobytes())
    return settled
