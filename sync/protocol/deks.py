"""Listings of wrapped DEKs (docs/protocol.md 7.15 and 7.17).

A listing is sent twice over, for two generations of clients: one chunk per entry, then all entries once more
in the result. The result is dropped as soon as it is known to be too long, so that a listing holds one
frame at most, however many entries go by.
"""

from collections.abc import Callable, Iterable
from uuid import UUID

from less_sync.sync.protocol.cbor import ARRAY, BYTES, head, integer, text
from less_sync.sync.protocol.frames import FRAME_BYTES_MAX, EncodedResult, encode_response


class DekListing:
    """Encodes the answer to one `deks.get` or `file.deks.get`: any number of `chunks`, then the `result`.

    The bytes are those of the generic encoder over `RecordDek` or `FileDek`, and `DeksResult` or
    `FileDeksResult`.
    """

    __slots__ = (
        "_chunk_start",
        "_cursor_key",
        "_entries",
        "_frame_bytes_max",
        "_header",
        "_request_id",
        "_room",
        "count",
    )

    def __init__(
        self,
        request_id: str,
        *,
        header: Callable[[int], bytes],
        files: bool = False,
        frame_bytes_max: int = FRAME_BYTES_MAX,
    ) -> None:
        """A listing of records, or of `files`; `deks` is left out of a result above `frame_bytes_max`.

        Args:
            header: makes what the transport puts before a payload of so many bytes.
        """
        name = "deks.files.record" if files else "deks.record"
        self._request_id = request_id
        self._header = header
        self._chunk_start = b"\xa4dtype\x03bid%bdname%bddata" % (text(request_id), text(name))
        self._cursor_key = b"fcursor" if files else b"cseq"
        self._frame_bytes_max = frame_bytes_max
        self._room = frame_bytes_max
        self._entries: list[bytes] = []
        self.count = 0
        """Entries encoded so far: `_chunks` of the result."""

    def chunks(self, rows: Iterable[tuple[UUID | str, bytes, int]]) -> list[bytes]:
        """One complete frame for each (id, wrapped DEK, cursor), to be sent in this order."""
        start, cursor_key = self._chunk_start, self._cursor_key
        frames: list[bytes] = []
        for entry_id, dek, cursor in rows:
            entry = b"\xa3bidx$%bcdek%b%b%b%b" % (
                str(entry_id).encode(),
                head(BYTES, len(dek)),
                dek,
                cursor_key,
                integer(cursor),
            )
            frames.append(self._header(len(start) + len(entry)) + start + entry)
            self._keep(entry)
        self.count += len(frames)
        return frames

    def _keep(self, entry: bytes) -> None:
        """Hold an entry for the result, until there is no more room for all of them."""
        self._room -= len(entry)
        if self._room < 0:
            self._entries.clear()
        else:
            self._entries.append(entry)

    def result(self) -> EncodedResult:
        """The result, after the last chunk: `{deks, _chunks}`, or `{_chunks}` when it would be too long."""
        chunks = b"g_chunks" + integer(self.count)
        if self._room >= 0:
            entries = head(ARRAY, len(self._entries)) + b"".join(self._entries)
            around = len(encode_response(self._request_id, EncodedResult(b"")))
            whole = b"\xa2ddeks" + entries + chunks
            if around + len(whole) <= self._frame_bytes_max:
                return EncodedResult(whole)
        return EncodedResult(b"\xa1" + chunks)
