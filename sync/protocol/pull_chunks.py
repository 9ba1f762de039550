"""The chunks of one space in a pull, framed for the transport, joined from parts (docs/protocol.md 7.5).

A pull may carry a million records, so what a record's frame has in common with others is made once. All that
depends on lengths alone is its *shape*: the transport's header, the frame up to the id, heads of blob and
DEK. All that depends on the cursor is made once per cursor. What is left per record is its id, its blob, its
DEK and one `extend`. Every byte is that of the generic encoder over `PullRecord` (docs/storage.md 7.6).
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from less_sync.storage import FILE, MEMBER, RECORD, PullRow
from less_sync.sync.protocol.cbor import BYTES, MAP, head, integer, text
from less_sync.sync.protocol.errors import LocalProtocolError
from less_sync.sync.protocol.frames import encode_chunk
from less_sync.sync.protocol.messages import (
    MemberEntry,
    PullBegin,
    PullCommit,
    PullFile,
    PullMembership,
)

SHAPES_MAX: Final = 1024
"""Shapes kept per pull; beyond, they are made anew."""


class _Shape(NamedTuple):
    """What records of one shape share, in the order it is sent; id, blob, cursor and DEK stand between."""

    start: bytes
    blob_head: bytes
    dek_head: bytes
    end: bytes


class PullEncoder:
    """Encodes one space's part of the answer to one pull: `begin`, any number of `entries`, `commit`."""

    __slots__ = ("_before_id", "_header", "_id", "_shapes", "_space", "begun", "count")

    def __init__(self, request_id: str, space: str, *, header: Callable[[int], bytes]) -> None:
        """`space` is spelled as the request spelled it.

        Args:
            header: makes what the transport puts before a payload of so many bytes.
        """
        self._id = request_id
        self._header = header
        self._space = space
        self._before_id = b"espace" + text(space) + b"bidx$"
        self._shapes: dict[tuple[int, int, bool, int], _Shape] = {}
        self.begun: PullBegin | None = None
        self.count = 0
        """Entries encoded so far: so many chunks, and `count` of the commit."""

    def begin(self, *, since: int, cursor: int, key_generation: int, rewrap_epoch: int | None) -> bytes:
        """The chunk `pull.begin`; `since` as the request gave it, the rest as the snapshot has it."""
        self.begun = PullBegin(self._space, since, cursor, key_generation, rewrap_epoch)
        return self._framed(encode_chunk(self._id, "pull.begin", self.begun))

    def commit(self) -> bytes:
        """The chunk `pull.commit`, after the last entry."""
        begun = self.begun
        if begun is None:
            raise LocalProtocolError(expected="begin", came="commit")
        commit = PullCommit(self._space, begun.prev, begun.cursor, self.count)
        return self._framed(encode_chunk(self._id, "pull.commit", commit))

    def entries(self, rows: Sequence[PullRow]) -> list[bytes]:
        """Parts of the frames of `rows`, one frame a row, to be joined and sent in this order.

        A part is no frame: only all of them joined end at a frame's end.
        """
        parts: list[bytes] = []
        add = parts.extend
        shapes = self._shapes
        last_cursor = last_blob = last_dek = last_deleted = None
        cursor_pair = middle = b""
        start = blob_head = end = b""
        for row in rows:
            kind, cursor, record_id, blob, dek, _, _, _, deleted = row
            if kind != RECORD:
                parts.append(self._other(row))
                continue
            blob_length = -1 if blob is None else len(blob)
            dek_length = -1 if dek is None else len(dek)
            if (
                cursor != last_cursor
                or blob_length != last_blob
                or dek_length != last_dek
                or deleted is not last_deleted
            ):
                if cursor != last_cursor:
                    last_cursor = cursor
                    cursor_pair = b"fcursor" + integer(cursor)
                last_blob, last_dek, last_deleted = blob_length, dek_length, deleted
                key = (blob_length, dek_length, deleted, len(cursor_pair))
                shape = shapes.get(key)
                if shape is None:
                    shape = self._make_shape(key)
                start, blob_head, dek_head, end = shape
                middle = cursor_pair + dek_head
            add((start, str(record_id).encode(), blob_head, blob or b"", middle, dek or b""))
            if end:
                parts.append(end)
        self.count += len(rows)
        return parts

    def _make_shape(self, key: tuple[int, int, bool, int]) -> _Shape:
        """Make and keep the shape of: blob length or -1, DEK length or -1, deleted, length of cursor pair."""
        blob_length, dek_length, deleted, cursor_length = key
        blob_head = b"" if blob_length < 0 else b"dblob" + head(BYTES, blob_length)
        dek_head = b"" if dek_length < 0 else b"cdek" + head(BYTES, dek_length)
        end = b"gdeleted\xf5" if deleted else b""
        keys = 3 + (blob_length >= 0) + (dek_length >= 0) + deleted
        frame = (
            b"\xa4dtype\x03bid"
            + text(self._id)
            + b"dnamekpull.recordddata"
            + head(MAP, keys)
            + self._before_id
        )
        length = len(frame) + 36 + len(blob_head) + max(blob_length, 0) + cursor_length
        length += len(dek_head) + max(dek_length, 0) + len(end)
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        shape = _Shape(self._header(length) + frame, blob_head, dek_head, end)
        self._shapes[key] = shape
        return shape

    def _framed(self, payload: bytes) -> bytes:
        return self._header(len(payload)) + payload

    def _other(self, row: PullRow) -> bytes:
        """One frame of a member or a file entry: rare beside records, so by the generic encoder."""
        kind, cursor, entry_id, b1, b2, b3, record_id, number, deleted = row
        if kind == MEMBER:
            entry = MemberEntry(
                chain_seq=number or 0, prev_hash=b3 or b"", entry_hash=b2 or b"", payload=b1 or b""
            )
            membership = PullMembership(self._space, cursor, [entry])
            return self._framed(encode_chunk(self._id, "pull.membership", membership))
        if kind != FILE:
            raise LocalProtocolError(expected="record, member or file", came=f"kind {kind}")
        file = PullFile(
            space=self._space,
            id=str(entry_id),
            record_id=str(record_id),
            size=number or 0,
            dek=b2 or b"",
            cursor=cursor,
            deleted=deleted,
        )
        return self._framed(encode_chunk(self._id, "pull.file", file))
