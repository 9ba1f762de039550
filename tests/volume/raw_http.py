"""An HTTP/1.1 client that sends exactly what it is given and reads exactly what came, on blocking sockets."""

import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

ANSWER_TIMEOUT_S: Final = 30.0
READ_BYTES: Final = 256 * 1024


class BrokenAnswer(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, with the status lines of those that came before it (`100 Continue`)."""

    status_lines: tuple[str, ...]
    headers: tuple[tuple[str, str], ...]
    """Names in lower case, in the order they came."""
    body: bytes

    @property
    def status(self) -> int:
        return int(self.status_lines[-1].split(" ", 2)[1])

    def header(self, name: str) -> str | None:
        """The first value of a header, by its name in lower case."""
        return next((value for known, value in self.headers if known == name), None)


def request(
    address: str,
    method: str,
    target: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    body: bytes | None = None,
    *,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> Answer:
    """Ask on a connection of its own. `Host`, `Connection` and the body's length are added, nothing else."""
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in given}
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: {address}")
    lines += [f"{name}: {value}" for name, value in given]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines.append("Connection: close")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return exchange(address, head + (body or b""), without_body=method == "HEAD", timeout_s=timeout_s)


def exchange(
    address: str, sent: bytes, *, without_body: bool = False, timeout_s: float = ANSWER_TIMEOUT_S
) -> Answer:
    """Send bytes on a new connection, read to its end, and return the last answer that came.

    The server has to close the connection: because the request says so, or because it is broken.
    """
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=timeout_s) as connection:
        received = _send_and_read(connection, sent)
    return parse(received, without_body=without_body)


def _send_and_read(connection: socket.socket, sent: bytes) -> bytes:
    pieces: list[bytes] = []
    try:
        connection.sendall(sent)
        while piece := connection.recv(READ_BYTES):
            pieces.append(piece)
    except (BrokenPipeError, ConnectionResetError):
        # A server may refuse a body before it has read it: what it said until then is the answer.
        pieces += _what_is_left(connection)
    return b"".join(pieces)


def _what_is_left(connection: socket.socket) -> list[bytes]:
    pieces: list[bytes] = []
    try:
        while piece := connection.recv(READ_BYTES):
            pieces.append(piece)
    except OSError:
        pass
    return pieces


def parse(received: bytes, *, without_body: bool = False) -> Answer:
    """Take apart everything a connection brought.

    Raises:
        BrokenAnswer: a head or a body is not complete.
    """
    lines: list[str] = []
    answer: Answer | None = None
    rest = received
    while rest:
        head, found, rest = rest.partition(b"\r\n\r\n")
        if not found:
            raise BrokenAnswer(f"no end of the head in {received[:300]!r}")
        first, *fields = head.decode("latin-1").split("\r\n")
        lines.append(first)
        headers = tuple(
            (name.lower(), value.strip()) for name, _, value in (f.partition(":") for f in fields)
        )
        answer = Answer(tuple(lines), headers, b"")
        if answer.status < 200:
            continue
        if without_body or answer.status in (204, 304):
            return answer
        body, rest = _body(answer, rest)
        answer = Answer(tuple(lines), headers, body)
    if answer is None:
        raise BrokenAnswer("the connection was closed without an answer")
    return answer


def _body(answer: Answer, rest: bytes) -> tuple[bytes, bytes]:
    if answer.header("transfer-encoding") == "chunked":
        return _chunks(rest)
    length = answer.header("content-length")
    if length is None:
        return rest, b""
    if len(rest) < int(length):
        raise BrokenAnswer(f"{len(rest)} bytes of a body of {length}")
    return rest[: int(length)], rest[int(length) :]


def _chunks(rest: bytes) -> tuple[bytes, bytes]:
    pieces: list[bytes] = []
    while True:
        size_line, found, rest = rest.partition(b"\r\n")
        if not found:
            raise BrokenAnswer("a chunked body without its end")
        size = int(size_line.split(b";")[0], 16)
        if size == 0:
            _, _, rest = rest.partition(b"\r\n")
            return b"".join(pieces), rest
        if len(rest) < size + 2:
            raise BrokenAnswer("a chunk without its end")
        pieces.append(rest[:size])
        rest = rest[size + 2 :]
