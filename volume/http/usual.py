"""The requests that nearly all are, each in one go (docs/volume.md, section 3.9).

A read or a write of a short file by `/vid,fid`, without parameters and tokens, on a connection that stays:
the general way, through a request, a handler and a response, takes several times as long for it. What is here
looks at the bytes as they lie in the buffer, and either answers them or leaves everything as it was; whatever
is out of the ordinary, a fault included, is left to the general way, which begins from the start and decides
alone. A test holds the answers of both against each other, and what they leave in the files.

Safe because: all of it happens between two turns of the event loop, and a file is stored by the same step of
the engine as in the general way, which is the last thing that may fail.
"""

import re
import time
from functools import partial
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from less_sync.volume.format.checksums import cut
from less_sync.volume.http.request import Request, new_request_id
from less_sync.volume.http.response import Response
from less_sync.volume.http.usual_heads import Known
from less_sync.volume.http.writing import STATUS_LINES, joined_head
from less_sync.volume.logs import Logger

if TYPE_CHECKING:
    from less_sync.volume.http.connection import Connection
    from less_sync.volume.http.limits import InFlight, Limits
    from less_sync.volume.http.usual_reads import UsualReads
    from less_sync.volume.http.usual_writes import UsualWrites

_LINE: Final = re.compile(
    rb"(GET|PUT|POST) /(([0-9]{1,9}),([0-9a-fA-F]{1,16})([0-9a-fA-F]{8}))"
    rb"(?:\?ts=([0-9]{1,10}))? HTTP/1\.1\r\n"
)
_log: Final = Logger(__name__)


class Usual:
    """Answers usual requests of the connections of one listener.

    Args:
        common: header lines that all answers have.
        writes: None on a listener that only reads.
    """

    def __init__(
        self, common: str, limits: "Limits", reads: "UsualReads", writes: "UsualWrites | None" = None
    ) -> None:
        self._read_head: Final = f"{STATUS_LINES[200]}{common}"
        self._write_head: Final = f"{STATUS_LINES[201]}{common}"
        self._limits: Final = limits
        self._reads: Final = reads
        self._writes: Final = writes

    def answer(self, connection: "Connection", buffer: bytearray, count: int) -> bool:
        """Whether `buffer[:count]` was one usual request and nothing else, and is answered."""
        line = _LINE.match(buffer, 0, count)
        if line is None:
            return False
        known, heads = connection.known, connection.heads
        if known.block is not heads.block:
            known = connection.known = Known(heads.block, heads.model)
        try:
            if line[1] == b"GET":
                return self._read(connection, line, known, buffer, count)
            return self._write(connection, line, known, buffer, count)
        except Exception as fault:
            _log.error("usual request failed", fault=fault, fid=line[2].decode())
            return False

    def _read(
        self, connection: "Connection", line: re.Match[bytes], known: Known, buffer: bytearray, count: int
    ) -> bool:
        block, at = known.read, line.end()
        if not block or at + len(block) != count or not buffer.startswith(block, at):
            return False
        started_ns = perf_counter_ns()
        _, _, vid, key, cookie, seconds = line.groups()
        if seconds is not None:
            return False
        found = self._reads.find(int(vid), int(key, 16), int(cookie, 16))
        if found is None:
            return False
        lines, data, size = found
        head = self._joined(self._read_head, lines)
        self._send(connection, b"".join((head, data)), "GET", 200, started_ns, self._limits.downloads, size)
        return True

    def _write(
        self, connection: "Connection", line: re.Match[bytes], known: Known, buffer: bytearray, count: int
    ) -> bool:
        started_ns = perf_counter_ns()
        start, length, boundary = known.measure(buffer, line.end())
        if not length or start + length != count or self._writes is None:
            return False
        method, name, vid, key, cookie, seconds = line.groups()
        if method == b"PUT" or (known.mime and b"form-data" not in known.mime):
            mime, data = known.mime, cut(buffer, start, count)
        elif not boundary or (file := self._writes.file_in(buffer, start, count, boundary)) is None:
            return False
        else:
            name, mime, data = file
        stored = self._writes.store(
            connection.peer_ip, int(vid), int(key, 16), int(cookie, 16), name, mime, data, int(seconds or 0)
        )
        if stored is None:
            return False
        lines, body = stored
        answer = b"".join((self._joined(self._write_head, lines), body))
        self._send(connection, answer, method.decode(), 201, started_ns, self._limits.uploads, length)
        return True

    def _joined(self, begin: str, lines: str) -> bytes:
        now_ns = time.time_ns()
        return joined_head(begin, new_request_id(now_ns), lines, now_ns)

    def _send(
        self,
        connection: "Connection",
        answer: bytes,
        method: str,
        status: int,
        started_ns: int,
        in_flight: "InFlight",
        held_bytes: int,
    ) -> None:
        """Send an answer. If the client does not take all of it now, it goes on in the general way."""
        transport = connection.transport
        transport.write(answer)
        if not transport.get_write_buffer_size():
            connection.listener.count(method, status, perf_counter_ns() - started_ns)
            return
        in_flight.add(held_bytes)
        request = Request(method, b"", "", "")
        connection.wait_until_sent(
            request, Response(status, sent=partial(in_flight.subtract, held_bytes)), started_ns
        )
