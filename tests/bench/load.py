"""The load generator: a process of its own that sends prepared bytes, reads raw bytes and counts frames.

`python -m tests.bench.load` reads one JSON command a line on standard input and answers each with one line.
Tokens and frames are made by commands that are not measured. One thread, one epoll: nothing is decoded while
the clock runs but the headers of WebSocket frames.
"""

import asyncio
import select
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.bench.child import answer_commands, raise_open_files
from tests.bench.contents import Transfers
from tests.bench.frames import (
    PONG,
    PULL_END,
    PUSH_OK,
    FrameCounter,
    auth_frame,
    client_frame,
    pull_frame,
    push_frames,
    subscribe_frame,
    upgrade_request,
)
from tests.wire.issuer import Issuer
from tests.wire.replay import BARRIER

READ_BYTES: Final = 256 * 1024
PATIENCE_S: Final = 60.0
"""Nothing for so long means the server is stuck: the run fails instead of hanging."""
HEADERS_END: Final = b"\r\n\r\n"
NOTIFICATION: Final = b"dsync"
"""The method name of a `sync` notification."""
PROBES_PER_S: Final = 40
ALIVE_S: Final = 10.0
KEPT_BYTES_MAX: Final = 32 * 1024 * 1024


class Link:
    """One connection: its socket, what it still has to send, and what it has counted."""

    __slots__ = ("counter", "expected", "frames", "next", "opening", "sock")

    def __init__(self, sock: socket.socket, opening: bytes) -> None:
        self.sock = sock
        self.opening = opening
        """Sent once the upgrade is answered."""
        self.counter = FrameCounter()
        self.frames: list[bytes] = []
        self.next = 0
        self.expected = 0


class Load:
    """The state between commands: groups of open connections by name."""

    def __init__(self, key_pem: str, issuer: str) -> None:
        key = load_pem_private_key(key_pem.encode(), None)
        self._issuer = Issuer(key)  # type: ignore[arg-type]  # the bench sends a P-256 key
        self._iss = issuer
        self._groups: dict[str, list[Link]] = {}
        self._serial = 0
        self._port = 0

    def commands(self) -> Mapping[str, Callable[..., dict[str, Any]]]:
        return {
            "target": self.target,
            "tokens": self.tokens,
            "open": self.open,
            "open_bare": self.open_bare,
            "open_peers": self.open_peers,
            "prepare": self.prepare,
            "push": self.push,
            "push_heard": self.push_heard,
            "pull": self.pull,
            "fan_out": self.fan_out,
            "notify": self.notify,
            "drain": self.drain,
            "probe": self.probe,
            "close": self.close,
            **Transfers().commands(),
        }

    def target(self, port: int) -> dict[str, Any]:
        """Open connections to the server at this port from now on."""
        self._port = port
        return {}

    def tokens(
        self, count: int, user: str, space: str, one_person: bool = False, did: str = ""
    ) -> dict[str, Any]:
        """Sign distinct tokens: they share a user, a DID and a personal space.

        Each has a mailbox id of its own, and so counts as a person of its own, unless they are `one_person`.
        """
        made = []
        for number in range(count):
            self._serial += 1
            claims = {
                "iss": self._iss,
                "sub": user,
                "client_id": "11111111-1111-1111-1111-111111111111",
                "scope": "openid sync files",
                "personal_space_id": space,
                "did": did,
                "mailbox_id": f"{self._serial - (number if one_person else 0):064x}",
            }
            made.append(self._issuer.token(claims))
        return {"tokens": made}

    def open(
        self,
        group: str,
        tokens: Sequence[str],
        parallel: int,
        subscribe: str | None = None,
        spaces: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Connect, authenticate and have one request answered: a subscription, or an unknown method.

        Args:
            subscribe: to one space without a UCAN.
            spaces: to shared ones, each with its UCAN.
        """
        first = client_frame(BARRIER)
        if subscribe is not None:
            first = subscribe_frame(subscribe)
        elif spaces:
            first = subscribe_frame(*spaces, ucans=list(spaces.values()))
        openings = [auth_frame(token) + first for token in tokens]
        started = time.perf_counter()
        self._groups.setdefault(group, []).extend(self._open_all(openings, parallel))
        return {"seconds": time.perf_counter() - started}

    def open_peers(self, group: str, signatures: Sequence[str], parallel: int) -> dict[str, Any]:
        """Connect as other servers do, each with the signature headers of its own, and have one request
        answered."""
        first = client_frame(BARRIER)
        path = "/api/v1/federation/ws"
        requests = [upgrade_request(self._port, path, lines) for lines in signatures]
        self._groups[group] = self._open_all([first] * len(requests), parallel, requests)
        return {}

    def _open_all(
        self, openings: Sequence[bytes], parallel: int, requests: Sequence[bytes] = ()
    ) -> list[Link]:
        waiting = iter(zip(openings, requests or [upgrade_request(self._port)] * len(openings), strict=True))
        done: list[Link] = []
        opening: dict[int, Link] = {}
        with select.epoll() as poll:

            def begin() -> None:
                for bytes_after_upgrade, request in waiting:
                    link = Link(connect(self._port), bytes_after_upgrade)
                    link.sock.sendall(request)
                    opening[link.sock.fileno()] = link
                    poll.register(link.sock, select.EPOLLIN)
                    return

            for _ in range(parallel):
                begin()
            while opening:
                for fd, _ in waited(poll):
                    link = opening[fd]
                    if opened(link):
                        poll.unregister(fd)
                        done.append(opening.pop(fd))
                        begin()
        return done

    def open_bare(self, group: str, count: int, port: int) -> dict[str, Any]:
        """Connect plain TCP sockets to the floor of the fan-out, which answers with bare frames."""
        self._groups[group] = [Link(connect(port), b"") for _ in range(count)]
        return {}

    def prepare(
        self,
        group: str,
        spaces: Sequence[str],
        pushes: int,
        records: int,
        blob_bytes: int,
        ucans: Sequence[str] = ("",),
    ) -> dict[str, Any]:
        """Make the pushes of each connection; connection i writes to space i, modulo their number.

        Args:
            ucans: of the spaces, where they are shared ones.
        """
        for index, link in enumerate(self._groups[group]):
            space, ucan = spaces[index % len(spaces)], ucans[index % len(ucans)]
            link.frames = push_frames(space, count=pushes, records=records, blob_bytes=blob_bytes, ucan=ucan)
            link.next = 0
        return {}

    def push(self, group: str) -> dict[str, Any]:
        """Every connection sends its next push when the last is answered, until one has none left."""
        links = {link.sock.fileno(): link for link in self._groups[group]}
        with select.epoll() as poll:
            for fd in links:
                poll.register(fd, select.EPOLLIN)
            started = time.perf_counter()
            for link in links.values():
                send_next(link)
            answered = 0
            out = False
            while not out:
                for fd, _ in waited(poll):
                    link = links[fd]
                    count = read_push_answer(link)
                    answered += count
                    if not count:
                        continue  # part of an answer, or a keepalive
                    if link.next == len(link.frames):
                        out = True
                        poll.unregister(fd)
                        del links[fd]
                    else:
                        send_next(link)
            seconds = time.perf_counter() - started
            late = len(links)
            while links:  # the answers still outstanding, after the clock has stopped
                for fd, _ in waited(poll):
                    if read_push_answer(links[fd]):
                        poll.unregister(fd)
                        del links[fd]
        return {"pushes": answered, "late": late, "seconds": seconds}

    def push_heard(self, group: str, listeners: str) -> dict[str, Any]:
        """As `push`, until all pushes are answered and heard."""
        links = {link.sock.fileno(): link for link in self._groups[group]}
        ears = {link.sock.fileno(): link for link in self._groups[listeners]}
        unanswered = unheard = sum(len(link.frames) for link in links.values())
        with select.epoll() as poll:
            for fd in (*links, *ears):
                poll.register(fd, select.EPOLLIN)
            for link in links.values():
                send_next(link)
            while unanswered or unheard:
                for fd, _ in waited(poll):
                    if fd in ears:
                        data = ears[fd].sock.recv(READ_BYTES)
                        assert data, "the server closed a listener"
                        unheard -= ears[fd].counter.feed(data)
                        continue
                    link = links[fd]
                    count = read_push_answer(link)
                    unanswered -= count
                    if count and link.next < len(link.frames):
                        send_next(link)
        return {}

    def pull(self, group: str, space: str, ucan: str = "", bytes_per_s: int | None = None) -> dict[str, Any]:
        """Pull a whole space on the group's first connection. Bytes are kept, and counted after the clock
        has stopped, unless there are too many.

        Args:
            bytes_per_s: read no faster than this.
        """
        sock = self._groups[group][0].sock
        counter = FrameCounter()
        sock.setblocking(True)
        sock.settimeout(PATIENCE_S)
        frames = total = 0
        kept: list[bytes] = []
        tail = b""
        started = time.perf_counter()
        alive = started
        sock.sendall(pull_frame(space, ucan))
        while PULL_END not in tail:
            data = sock.recv(READ_BYTES)
            assert data, "the server closed during a pull"
            total += len(data)
            if bytes_per_s is not None:
                time.sleep(max(0.0, started + total / bytes_per_s - time.perf_counter()))
                if time.perf_counter() > alive + ALIVE_S:  # as clients do that send pings of their own
                    alive = time.perf_counter()
                    sock.sendall(PONG)
            kept.append(data)
            tail = data[-64:] if len(data) >= 64 else tail[-64:] + data
            if total > KEPT_BYTES_MAX:
                frames += sum(map(counter.feed, kept))
                kept.clear()
        seconds = time.perf_counter() - started
        frames += sum(map(counter.feed, kept))
        sock.setblocking(False)
        return {"frames": frames, "bytes": total, "seconds": seconds}

    def fan_out(
        self, subscribers: str, trigger: str, rounds: int, space: str | None, blob_bytes: int
    ) -> dict[str, Any]:
        """Push one record (or, without a space, one byte) and wait until all have its notification."""
        links = {link.sock.fileno(): link for link in self._groups[subscribers]}
        source = self._groups[trigger][0]
        triggers = [
            b"!" if space is None else push_frames(space, count=1, records=1, blob_bytes=blob_bytes)[0]
            for _ in range(rounds)
        ]
        received = total = 0
        with select.epoll() as poll:
            for fd in links:
                poll.register(fd, select.EPOLLIN)
            started = time.perf_counter()
            for number, data in enumerate(triggers, 1):
                source.sock.sendall(data)
                while received < number * len(links):
                    for fd, _ in waited(poll):
                        data = links[fd].sock.recv(READ_BYTES)
                        assert data, "the server closed during the fan-out"
                        total += len(data)
                        received += links[fd].counter.feed(data)
                if space is not None:
                    wait_for(source.sock, select.POLLIN)
                    read_until(source.sock, PUSH_OK)
            seconds = time.perf_counter() - started
        return {"deliveries": received, "bytes": total, "seconds": seconds}

    def notify(
        self, subscriber: str, pusher: str, space: str, count: int, blob_bytes: int, ucan: str = ""
    ) -> dict[str, Any]:
        """Time from a push's first byte to its notification at another connection, `count` times."""
        reader, writer = self._groups[subscriber][0].sock, self._groups[pusher][0].sock
        pushes = push_frames(space, count=count, records=1, blob_bytes=blob_bytes, ucan=ucan)
        for sock in (reader, writer):
            sock.setblocking(True)
            sock.settimeout(PATIENCE_S)
        seconds = []
        for data in pushes:
            started = time.perf_counter()
            writer.sendall(data)
            read_until(reader, NOTIFICATION)
            seconds.append(time.perf_counter() - started)
            read_until(writer, PUSH_OK)
        for sock in (reader, writer):
            sock.setblocking(False)
        return {"seconds": seconds}

    def drain(self, group: str, frames: int) -> dict[str, Any]:
        """Read so many frames that the group's first connection was sent meanwhile."""
        link = self._groups[group][0]
        link.sock.settimeout(PATIENCE_S)
        while frames > 0:
            data = link.sock.recv(READ_BYTES)
            assert data, "the server closed"
            frames -= link.counter.feed(data)
        link.sock.setblocking(False)
        return {}

    def probe(self, pusher: str, puller: str, spaces: Sequence[str], seconds: float) -> dict[str, Any]:
        """Push a record on one connection and pull a space on another, each `PROBES_PER_S` times a second.

        Returns the times of either from when the request was due: who has to wait for one answer is late with
        the next, and that counts too.
        """
        count = max(1, int(seconds * PROBES_PER_S))
        push_space, pull_space = spaces
        pushes = push_frames(push_space, count=count, records=1, blob_bytes=1024)
        with ThreadPoolExecutor(2) as threads:
            pushed = threads.submit(times_of, self._groups[pusher][0].sock, pushes, PUSH_OK)
            pulls = [pull_frame(pull_space)] * count
            pulled = threads.submit(times_of, self._groups[puller][0].sock, pulls, PULL_END)
        return {"push": pushed.result(), "pull": pulled.result()}

    def close(self, group: str) -> dict[str, Any]:
        """Cut the group's connections."""
        for link in self._groups.pop(group):
            link.sock.close()
        return {}


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


def opened(link: Link) -> bool:
    """Go on with the handshake of a readable connection; True once its first request is answered."""
    data = link.sock.recv(READ_BYTES)
    assert data, "the server closed during the handshake"
    if link.opening:
        head, end, rest = data.partition(HEADERS_END)
        assert head.startswith(b"HTTP/1.1 101"), head[:80]
        assert (end, rest) == (HEADERS_END, b""), "more than an upgrade"
        link.sock.sendall(link.opening)
        link.opening = b""
        return False
    assert data[0] == 0x82, "a close frame instead of an answer"
    return link.counter.feed(data) > 0


def send_next(link: Link) -> None:
    data = link.frames[link.next]
    link.next += 1
    try:
        sent = link.sock.send(data)
    except BlockingIOError:
        sent = 0
    while sent < len(data):  # a megabyte does not fit the kernel's buffer; the server reads at once
        wait_for(link.sock, select.POLLOUT)
        sent += link.sock.send(memoryview(data)[sent:])


def read_push_answer(link: Link) -> int:
    data = link.sock.recv(READ_BYTES)
    count = link.counter.feed(data)
    assert data, "the server closed"
    assert not count or PUSH_OK in data, "a push was refused"
    return count


def read_until(sock: socket.socket, mark: bytes) -> None:
    """Read until what has come holds `mark`: a keepalive may come before."""
    data = b""
    while mark not in data:
        more = sock.recv(READ_BYTES)
        assert more, "the server closed"
        data += more


def times_of(sock: socket.socket, frames: Sequence[bytes], answer: bytes) -> list[float]:
    """Send one frame after the other, each once it is due and the last is answered; seconds from then on."""
    sock.settimeout(PATIENCE_S)
    taken = []
    started = time.monotonic()
    for number, frame in enumerate(frames):
        due = started + number / PROBES_PER_S
        time.sleep(max(0.0, due - time.monotonic()))
        sock.sendall(frame)
        read_until(sock, answer)
        taken.append(time.monotonic() - due)
    sock.setblocking(False)
    return taken


def wait_for(sock: socket.socket, event: int) -> None:
    poll = select.poll()
    poll.register(sock, event)
    assert poll.poll(PATIENCE_S * 1000), "the server is stuck"


def waited(poll: select.epoll) -> list[tuple[int, int]]:
    events = poll.poll(PATIENCE_S)
    assert events, "the server is silent"
    return events


def main() -> None:
    raise_open_files()
    asyncio.run(answer_commands(Load))


if __name__ == "__main__":
    main()
