"""Which needle lies where: what an index says of each id, in 16 or 17 bytes an id.

Ids that were there at the load, or at the last merge, are in sorted arrays that never change; what came since
is in a dict. A look-up asks the dict, then bisects: one to two microseconds. When the dict has grown, both
are merged in a thread into new arrays (`merge`).

An id that was deleted keeps its place, so that its old record can still be found: its size is the old one,
negated, or -1 when the old one was 0.
"""

from array import array
from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from less_sync.volume.format.rows import ALIGNMENT, OFFSETS_BYTES, TOMBSTONE_SIZE

MERGE_AFTER: Final = 100_000
"""Entries of the dict, or an eighth of all if that is more."""
_SIGN: Final = 1 << 31
_LOW_32: Final = (1 << 32) - 1
_LOW_64: Final = (1 << 64) - 1


def pack(offset: int, size: int) -> int:
    """An entry in one number: the offset in units of 8 bytes above the 32 bits of the size."""
    return offset // ALIGNMENT << 32 | (size & _LOW_32)


@dataclass(slots=True)
class Settled:
    """Entries that no longer change, by ascending id.

    `values` holds the low 32 bits of an offset in units of 8 bytes above the 32 bits of a size, `high` the
    fifth byte of each offset, and is empty for indexes with 4-byte offsets.
    """

    ids: "array[int]"
    values: "array[int]"
    high: "array[int]"

    @classmethod
    def empty(cls) -> "Settled":
        """Nothing."""
        return cls(array("Q"), array("Q"), array("B"))

    def append(self, id: int, packed: int, width: int) -> None:  # noqa: A002
        """Put an entry behind the others; its id is above theirs. Only while nobody else sees this object."""
        self.ids.append(id)
        self.values.append(packed & _LOW_64)
        if width == 5:
            self.high.append(packed >> 64)

    def extend(self, other: "Settled", start: int, stop: int) -> None:
        """The same with a part of others."""
        self.ids.extend(other.ids[start:stop])
        self.values.extend(other.values[start:stop])
        self.high.extend(other.high[start:stop])

    def packed(self, id: int) -> int | None:  # noqa: A002
        """Offset in units of 8 and size in one number, or None."""
        at = bisect_left(self.ids, id)
        if at == len(self.ids) or self.ids[at] != id:
            return None
        return self.values[at] | self.high[at] << 64 if self.high else self.values[at]


@dataclass(slots=True)
class Counters:
    """What a volume reports of its contents. None of them but by a vacuum ever shrinks."""

    file_count: int = 0
    content_bytes: int = 0
    deleted_count: int = 0
    deleted_bytes: int = 0
    max_key: int = 0


class NeedleMap:
    """The entries of one volume and its counters. Belongs to the event loop."""

    def __init__(
        self, width: int = 4, settled: Settled | None = None, counters: Counters | None = None
    ) -> None:
        self.width: Final = width
        self.counters: Final = counters or Counters()
        self.reach: Final = OFFSETS_BYTES[width]
        """How far offsets of this width reach, in bytes."""
        self._settled = settled or Settled.empty()
        self._merge_after = _merge_after(self._settled)
        self._recent: dict[int, int] = {}
        self._merging: dict[int, int] = {}

    @property
    def file_count(self) -> int:
        """Needles written, those overwritten or deleted since included."""
        return self.counters.file_count

    @property
    def content_bytes(self) -> int:
        """Sum of the sizes of all of them."""
        return self.counters.content_bytes

    @property
    def deleted_count(self) -> int:
        """Needles overwritten or deleted."""
        return self.counters.deleted_count

    @property
    def deleted_bytes(self) -> int:
        """Sum of the sizes of those."""
        return self.counters.deleted_bytes

    @property
    def max_key(self) -> int:
        """The highest id ever seen."""
        return self.counters.max_key

    def get(self, id: int) -> tuple[int, int] | None:  # noqa: A002
        """Offset in bytes and size of an id; the size of a deleted one is negative. None: never seen."""
        packed = self._recent.get(id)
        if packed is None and self._merging:
            packed = self._merging.get(id)
        if packed is None:
            packed = self._settled.packed(id)
            if packed is None:
                return None
        size = packed & _LOW_32
        return (packed >> 32) * ALIGNMENT, size - ((size & _SIGN) << 1)

    def put(self, id: int, offset: int, size: int) -> None:  # noqa: A002
        """A needle was written. With 4-byte offsets `offset` counts modulo 32 GiB, as in the index."""
        old = self.get(id)
        self._recent[id] = pack(offset % self.reach, size)
        counters = self.counters
        counters.file_count += 1
        counters.content_bytes += size
        if id > counters.max_key:
            counters.max_key = id
        if old is not None and old[1] > 0:
            counters.deleted_count += 1
            counters.deleted_bytes += old[1]

    def delete(self, id: int) -> int:  # noqa: A002
        """A needle was deleted.

        Returns:
            Its size, 0 when there was none or it was deleted before.
        """
        old = self.get(id)
        if old is None or old[1] < 0:
            return 0
        offset, size = old
        self._recent[id] = pack(offset, -size or TOMBSTONE_SIZE)
        if size > 0:
            self.counters.deleted_count += 1
            self.counters.deleted_bytes += size
        return size

    @property
    def wants_merge(self) -> bool:
        """Whether so much came since the last merge that another one pays, and none is under way."""
        return len(self._recent) >= self._merge_after and not self._merging

    def start_merge(self) -> "Merge":
        """What is to be merged, in a thread; then call `finish_merge`, or `abandon_merge` if it failed."""
        self._merging, self._recent = self._recent, {}
        return Merge(self._settled, self._merging, self.width)

    def finish_merge(self, merged: Settled) -> None:
        """Take the merged entries, back on the loop. What was written meanwhile stays apart."""
        self._settled = merged
        self._merging = {}
        self._merge_after = _merge_after(merged)

    def abandon_merge(self) -> None:
        """Put things back as they were before `start_merge`."""
        self._recent = self._merging | self._recent
        self._merging = {}


def _merge_after(settled: Settled) -> int:
    return max(MERGE_AFTER, len(settled.ids) // 8)


@dataclass(frozen=True, slots=True)
class Merge:
    """Entries as they were when a merge began; nobody changes them any more."""

    settled: Settled
    recent: dict[int, int]
    width: int

    def run(self) -> Settled:
        """The entries of both, by ascending id; where both have one, the recent one. In a thread."""
        merged = Settled.empty()
        old = self.settled
        start = 0
        for id_ in sorted(self.recent):
            stop = bisect_left(old.ids, id_, start)
            merged.extend(old, start, stop)
            start = stop + (stop < len(old.ids) and old.ids[stop] == id_)
            merged.append(id_, self.recent[id_], self.width)
        merged.extend(old, start, len(old.ids))
        return merged
