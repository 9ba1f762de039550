"""Clients that mean harm: a process of its own beside the load generator, which plays everybody else.

`python -m tests.bench.attackers` reads commands as the load generator does. What they send is made before the
attack begins, so that an attack costs this process little and the machine is left to server and others.
"""

import asyncio
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, cycle, repeat
from typing import Any, Final

import cbor2
import jwt

from tests.bench.child import answer_commands, raise_open_files
from tests.bench.frames import auth_frame, client_frame, pull_frame, tiny_push_frame, upgrade_request
from tests.bench.model import ISSUER
from tests.wire.issuer import new_key
from tests.wire.replay import BARRIER

READ_BYTES: Final = 64 * 1024
PATIENCE_S: Final = 60.0
MESSAGE_BYTES: Final = 4 * 1024 * 1024
FIRST_MESSAGE_BYTES: Final = 32 * 1024
HEAD_BYTES: Final = 384 * 1024
HEADER_LINE_BYTES: Final = 8 * 1024
SMALL_BUFFER_BYTES: Final = 16 * 1024
"""What a client that does not read lets its kernel take from the server."""
EMPTY_MAP: Final = b"\xa0"


class Attacker:
    """One connection: what it goes on sending, piece by piece, as fast as the server takes it."""

    __slots__ = ("_left", "_pieces", "reads", "sent", "sock")

    def __init__(self, sock: socket.socket, pieces: Iterator[bytes], *, reads: bool = True) -> None:
        self.sock = sock
        self._pieces = pieces
        self._left = memoryview(b"")
        self.reads = reads
        self.sent = 0

    def send(self) -> bool:
        """Send until the kernel takes no more; False when there is nothing left.

        Raises:
            OSError: the server has cut the connection.
        """
        while True:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    return False
                self._left = memoryview(piece)
            try:
                sent = self.sock.send(self._left)
            except BlockingIOError:
                return True
            self.sent += sent
            self._left = self._left[sent:]


class Attackers:
    """The attacks, each of them one command. Whoever the server cuts off stays away."""

    def __init__(self) -> None:
        self._port = 0
        self._frames: list[bytes] = []

    def commands(self) -> Mapping[str, Callable[..., dict[str, Any]]]:
        return {
            "target": self.target,
            "strangers": self.strangers,
            "prepare_items": self.prepare_items,
            "prepare_pushes": self.prepare_pushes,
            "send_prepared": self.send_prepared,
            "stall": self.stall,
        }

    def target(self, port: int) -> dict[str, Any]:
        """Attack the server at this port from now on."""
        self._port = port
        return {}

    def strangers(self, count: int, seconds: float) -> dict[str, Any]:
        """Connect so many times and send what is taken, in several ways, without ever authenticating.

        Half of them ask for a WebSocket, the others send a request head that does not end.
        """
        ways = self._ways()
        attackers = [Attacker(connect(self._port), way()) for _, way in zip(range(count), cycle(ways))]
        return attack(attackers, seconds)

    def _ways(self) -> Sequence[Callable[[], Iterator[bytes]]]:
        request = upgrade_request(self._port)
        large = client_frame(bytes(MESSAGE_BYTES))
        first = client_frame(bytes(FIRST_MESSAGE_BYTES))
        unknown = jwt.encode({"iss": ISSUER, "sub": "u"}, new_key(), "ES256", headers={"kid": "unknown"})
        line = b"X-Filler: " + b"x" * HEADER_LINE_BYTES + b"\r\n"
        head = request.removesuffix(b"\r\n") + line * (HEAD_BYTES // len(line))

        def too_large() -> Iterator[bytes]:
            return iter((request, large))

        def one_byte_short() -> Iterator[bytes]:
            return iter((request, first[:-1]))

        def pipelined() -> Iterator[bytes]:
            return chain((request + auth_frame(unknown),), repeat(large))

        def endless_head() -> Iterator[bytes]:
            return iter((head,))

        upgrading = (one_byte_short, one_byte_short, one_byte_short, too_large, one_byte_short, pipelined)
        return [way for pair in zip(upgrading, repeat(endless_head)) for way in pair]

    def prepare_items(self, space: str, frames: int, maps: int) -> dict[str, Any]:
        """Make pulls of 4 MiB: `maps` empty maps beside the space, and one string for the rest."""
        self._frames = [client_frame(pull_with_filler(space, maps)) for _ in range(frames)]
        return {}

    def prepare_pushes(self, space: str, pushes: int, records: int) -> dict[str, Any]:
        """Make pushes of so many new records, which are as small as they can be."""
        self._frames = [tiny_push_frame(space, records) for _ in range(pushes)]
        return {}

    def send_prepared(self, tokens: Sequence[str], seconds: float) -> dict[str, Any]:
        """Send what was prepared over a connection for each token, waiting for no answer."""
        attackers = []
        for number, token in enumerate(tokens):
            sock = authenticated(self._port, token)
            attackers.append(Attacker(sock, iter(self._frames[number :: len(tokens)])))
        return attack(attackers, seconds)

    def stall(self, tokens: Sequence[str], spaces: Sequence[str], seconds: float) -> dict[str, Any]:
        """Pull a space over a connection for each token, and read nothing of it."""
        attackers = []
        for token, space in zip(tokens, spaces, strict=True):
            sock = authenticated(self._port, token, receive_bytes=SMALL_BUFFER_BYTES)
            attackers.append(Attacker(sock, iter((pull_frame(space),)), reads=False))
        return attack(attackers, seconds)


def pull_with_filler(space: str, maps: int) -> bytes:
    """A pull that is well-formed and has 4 MiB, because of params that nobody asked for."""
    known = cbor2.dumps({"type": 0, "id": "p", "method": "pull"})
    params = cbor2.dumps({"spaces": [{"id": space, "since": 0}]})
    filler = cbor2.dumps("a") + b"\x9a" + maps.to_bytes(4, "big") + EMPTY_MAP * maps
    rest = MESSAGE_BYTES - len(known) - len(params) - len(filler) - 32
    string = cbor2.dumps("b") + cbor2.dumps(bytes(max(0, rest)))
    return b"\xa4" + known[1:] + cbor2.dumps("params") + b"\xa3" + params[1:] + filler + string


def connect(port: int, *, receive_bytes: int = 0) -> socket.socket:
    sock = socket.socket()
    if receive_bytes:  # before the connection is made, or the window is not held to it
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(PATIENCE_S)
    sock.connect(("127.0.0.1", port))
    sock.setblocking(False)
    return sock


def authenticated(port: int, token: str, *, receive_bytes: int = 0) -> socket.socket:
    """A connection whose token was accepted."""
    sock = connect(port, receive_bytes=receive_bytes)
    sock.settimeout(PATIENCE_S)
    sock.sendall(upgrade_request(port))
    head = sock.recv(READ_BYTES)
    assert head.startswith(b"HTTP/1.1 101"), head[:80]
    sock.sendall(auth_frame(token) + client_frame(BARRIER))
    answer = sock.recv(READ_BYTES)
    assert answer[:1] == b"\x82", "a close frame instead of an answer"
    sock.setblocking(False)
    return sock


def attack(attackers: Sequence[Attacker], seconds: float) -> dict[str, Any]:
    """Let all of them send for so long, then hang up: bytes sent, and how many were cut off before."""
    open_ones = {attacker.sock.fileno(): attacker for attacker in attackers}
    cut = 0
    until = time.monotonic() + seconds
    with select.epoll() as poll:
        for fd, attacker in open_ones.items():
            poll.register(fd, select.EPOLLOUT | (select.EPOLLIN if attacker.reads else 0))
        while open_ones and (left := until - time.monotonic()) > 0:
            for fd, events in poll.poll(left):
                attacker = open_ones[fd]
                if is_cut(attacker, events):
                    cut += 1
                    poll.unregister(fd)
                    del open_ones[fd]
                elif events & select.EPOLLOUT and not attacker_goes_on(attacker):
                    poll.modify(fd, select.EPOLLIN if attacker.reads else 0)
    for attacker in attackers:
        attacker.sock.close()
    return {"sent": sum(attacker.sent for attacker in attackers), "cut": cut}


def is_cut(attacker: Attacker, events: int) -> bool:
    """Read what there is, and say whether the connection is over."""
    if events & (select.EPOLLHUP | select.EPOLLERR):
        return True
    if not (attacker.reads and events & select.EPOLLIN):
        return False
    try:
        return not attacker.sock.recv(READ_BYTES)
    except BlockingIOError:
        return False
    except OSError:
        return True


def attacker_goes_on(attacker: Attacker) -> bool:
    """Send; False when there is nothing more to send, or nobody who takes it."""
    try:
        return attacker.send()
    except (BrokenPipeError, ConnectionResetError):
        return False


def main() -> None:
    raise_open_files()
    asyncio.run(answer_commands(Attackers))


if __name__ == "__main__":
    main()
