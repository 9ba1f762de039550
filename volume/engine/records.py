"""The bytes that are written for a needle, with as little copying as its buffer allows."""

from collections.abc import Sequence

from less_sync.volume.format.checksums import Bytes
from less_sync.volume.format.needle import Needle, frame


def record_pieces(needle: Needle, version: int, join_bytes_max: int) -> Sequence[Bytes]:
    """The record of a needle: one piece if its data lies in a room or has up to `join_bytes_max` bytes.

    In a room the head is written before the data and the tail behind it, where the room has space for both;
    nothing is copied then. Sets the needle's `size`.
    """
    head, tail = frame(needle, version)
    if needle.room is None or not len(needle.data):
        pieces = (head, needle.data, tail)
        return pieces if len(needle.data) > join_bytes_max else (b"".join(pieces),)
    room = memoryview(needle.room)
    start, end = needle.room_at, needle.room_at + len(needle.data)
    room[start - len(head) : start] = head
    room[end : end + len(tail)] = tail
    return (room[start - len(head) : end + len(tail)],)
