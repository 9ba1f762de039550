"""The load generator of the volume rows: one process, one epoll loop, requests made before the clock starts.

An answer to one kind of request always has the same length: the first is taken apart, of the others the bytes
are counted and the status is looked at.
"""

import asyncio
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, Final

from tests.bench.child import answer_commands

COOKIE: Final = 10
BUFFER_BYTES: Final = 2 * 1024 * 1024
ANSWER_S_MAX: Final = 30.0
HEAD_BYTES_MAX: Final = 4096


def path(volume_id: int, key: int) -> str:
    """A file id whose text always has the same length."""
    return f"/{volume_id},{0x10000000 + key:x}{COOKIE:08x}"


class Connection:
    """A socket with at most one request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent: memoryview | None = None
        self.got = 0
        self.scheduled = 0.0

    def send(self, request: bytes) -> bool:
        """Send what the socket takes; return whether that was all."""
        sent = self.socket.send(request)
        if sent == len(request):
            return True
        self.unsent = memoryview(request)[sent:]
        return False

    def send_more(self) -> bool:
        """Send more of a request that did not fit; return whether that was all."""
        assert self.unsent is not None
        self.unsent = self.unsent[self.socket.send(self.unsent) :]
        if self.unsent:
            return False
        self.unsent = None
        return True


class WrongAnswer(Exception):
    """An answer had another status or length than the first one of its kind."""


def first_answer(port: int, request: bytes) -> tuple[bytes, int]:
    """Send a request on a connection of its own; return its status and the length of the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S_MAX) as connection:
        connection.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(HEAD_BYTES_MAX)
            if not piece:
                raise WrongAnswer(f"{received!r} and no more")
            received += piece
    head = received[: received.index(b"\r\n\r\n") + 4]
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return head[9:12], len(head) + int(fields[b"content-length"])


class Flood:
    """Every connection sends its next request as soon as it has the answer to the last."""

    def __init__(self, port: int, connections: int, status: bytes, answer_bytes: int) -> None:
        self._poll = select.epoll()
        self._by_number: dict[int, Connection] = {}
        for _ in range(connections):
            one = Connection(port)
            self._by_number[one.socket.fileno()] = one
            self._poll.register(one.socket.fileno(), select.EPOLLIN)
        self._buffer = bytearray(BUFFER_BYTES)
        self._status = status
        self._answer_bytes = answer_bytes

    def run(self, requests: Iterator[bytes], count: int) -> float:
        """Send so many requests, read all their answers, and return the seconds it took."""
        started = time.perf_counter()
        requests = islice(requests, count)
        for one in self._by_number.values():
            if (request := next(requests, None)) is not None:
                self._send(one, request)
        answered = 0
        while answered < count:
            events = self._poll.poll(ANSWER_S_MAX)
            if not events:
                raise WrongAnswer(f"no answer for {ANSWER_S_MAX} s, after {answered} of {count}")
            for number, event in events:
                one = self._by_number[number]
                if event & select.EPOLLOUT:
                    if one.send_more():
                        self._poll.modify(number, select.EPOLLIN)
                elif receive(one, self._buffer, self._status, self._answer_bytes):
                    answered += 1
                    if (request := next(requests, None)) is not None:
                        self._send(one, request)
        return time.perf_counter() - started

    def _send(self, one: Connection, request: bytes) -> None:
        if not one.send(request):
            self._poll.modify(one.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def close(self) -> None:
        for one in self._by_number.values():
            one.socket.close()
        self._poll.close()


def receive(one: Connection, buffer: bytearray, status: bytes, answer_bytes: int) -> bool:
    """Read what is there; return whether the answer is complete."""
    count = one.socket.recv_into(buffer)
    if one.got == 0 and buffer[9:12] != status:
        raise WrongAnswer(bytes(buffer[:count][:HEAD_BYTES_MAX]))
    one.got += count
    if count == 0 or one.got > answer_bytes:
        raise WrongAnswer(f"{one.got} bytes of {answer_bytes}")
    if one.got < answer_bytes:
        return False
    one.got = 0
    return True


def paced(
    port: int, connections: int, requests: Iterator[bytes], rate: float, seconds: float, first: bytes
) -> list[float]:
    """Send at an even rate; return how long each answer took from the moment its request was due.

    A request that is due while all connections wait is late, and its lateness counts.
    """
    status, answer_bytes = first_answer(port, first)
    idle = [Connection(port) for _ in range(connections)]
    waiting: dict[socket.socket, Connection] = {}
    buffer = bytearray(BUFFER_BYTES)
    taken: list[float] = []
    started = time.perf_counter()
    due, end, step = started, started + seconds, 1 / rate
    while waiting or due < end:
        now = time.perf_counter()
        while idle and due <= now and due < end:
            one = idle.pop()
            one.scheduled, due = due, due + step
            _send_whole(one, next(requests))
            waiting[one.socket] = one
        pause = max(0.0, due - time.perf_counter()) if idle and due < end else ANSWER_S_MAX
        # Unlike epoll's, the patience of select() is in microseconds.
        readable, _, _ = select.select(waiting, (), (), pause)
        for found in readable:
            one = waiting[found]
            if receive(one, buffer, status, answer_bytes):
                taken.append(time.perf_counter() - one.scheduled)
                idle.append(waiting.pop(found))
    for one in idle:
        one.socket.close()
    return taken


def _send_whole(one: Connection, request: bytes) -> None:
    done = one.send(request)
    while not done:
        select.select((), (one.socket,), (), ANSWER_S_MAX)
        done = one.send_more()


def gets(volume_id: int, files: int) -> list[bytes]:
    """A request for each of the files that `fill` has written."""
    return [f"GET {path(volume_id, key)} HTTP/1.1\r\nHost: volume\r\n\r\n".encode() for key in range(files)]


def puts(volume_id: int, first_key: int, size: int, content: bytes) -> Iterator[bytes]:
    """Requests that write ever new files."""
    key = first_key
    while True:
        head = f"PUT {path(volume_id, key)} HTTP/1.1\r\nHost: volume\r\n"
        head += f"Content-Type: application/x-bench\r\nContent-Length: {size}\r\n\r\n"
        yield head.encode() + content
        key += 1


class Load:
    """Commands of the child: each names the server's port and one of its volumes."""

    def __init__(self, connections: int) -> None:
        self._connections = connections

    def commands(self) -> Mapping[str, Callable[..., Any]]:
        return {"put": self.put, "get": self.get, "paced_get": self.paced_get, "paced_put": self.paced_put}

    def put(self, *, port: int, volume_id: int, size: int, count: int, first_key: int = 0) -> dict[str, Any]:
        """Write `count` new files. All of their requests are made before the clock starts, up to 1 GiB."""
        requests = puts(volume_id, first_key, size, _content(size))
        status, answer_bytes = first_answer(port, next(requests))
        ready = list(islice(requests, count - 1))
        seconds = self._flood(port, iter(ready), len(ready), status, answer_bytes)
        return {"requests": len(ready), "seconds": seconds}

    def get(self, *, port: int, volume_id: int, files: int, count: int) -> dict[str, Any]:
        """Read the first `files` files round and round, `count` times in all."""
        requests = gets(volume_id, files)
        status, answer_bytes = first_answer(port, requests[0])
        seconds = self._flood(port, cycle(requests), count, status, answer_bytes)
        return {"requests": count, "seconds": seconds, "answer_bytes": answer_bytes}

    def paced_get(
        self, *, port: int, volume_id: int, files: int, rate: float, seconds: float
    ) -> dict[str, Any]:
        requests = gets(volume_id, files)
        return _percentiles(paced(port, self._connections, cycle(requests), rate, seconds, requests[0]))

    def paced_put(
        self, *, port: int, volume_id: int, size: int, first_key: int, rate: float, seconds: float
    ) -> dict[str, Any]:
        requests = puts(volume_id, first_key, size, _content(size))
        return _percentiles(paced(port, self._connections, requests, rate, seconds, next(requests)))

    def _flood(self, port: int, requests: Iterator[bytes], count: int, status: bytes, length: int) -> float:
        flood = Flood(port, self._connections, status, length)
        try:
            return flood.run(requests, count)
        finally:
            flood.close()


def _content(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + b"." * (size % 251)


def _percentiles(taken: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(taken)
    return {
        "requests": len(ordered),
        "p50_ms": ordered[len(ordered) // 2] * 1000,
        "p99_ms": ordered[len(ordered) * 99 // 100] * 1000,
    }


if __name__ == "__main__":
    asyncio.run(answer_commands(Load))
