"""Our server is killed in the middle of a stream of writes, again and again: all it acknowledged is there."""

import socket
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.volume.cluster import Cluster, Kind, VolumeServer
from tests.volume.raw_http import BrokenAnswer, parse, request

ROUNDS: Final = 20
WRITERS: Final = 6
KINDS: Final[tuple[Kind, ...]] = ("ours", "weed", "ours")
WRITE_S_MIN: Final = 0.05
WRITE_S_MAX: Final = 0.4
SIZES: Final = (0, 1, 200, 4_000, 60_000, 600_000)


@dataclass(slots=True)
class Writer:
    """Writes and deletes over one connection until it breaks. Nobody else uses its keys."""

    number: int
    random: Random
    durable: bool
    acknowledged: dict[int, bytes | None] = field(default_factory=dict)
    """By key; `None`: a delete was acknowledged."""
    open: dict[int, bytes | None] = field(default_factory=dict)
    """What was asked for and not answered: it may or may not have happened."""
    touched: set[int] = field(default_factory=set)
    """Keys of this round."""
    next_key: int = 1

    def run(self, server: VolumeServer) -> None:
        self.open.clear()
        self.touched.clear()
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            try:
                while True:
                    self._change(connection)
            except (OSError, BrokenAnswer):
                return

    def _change(self, connection: socket.socket) -> None:
        living = [key for key, content in self.acknowledged.items() if content]
        if living and self.random.random() < 0.2:
            key, content = self.random.choice(living), None
        else:
            if living and self.random.random() < 0.2:
                key = self.random.choice(living)
            else:
                key, self.next_key = self.next_key, self.next_key + 1
            content = self.random.randbytes(self.random.choice(SIZES)) + b"."
        self.open = {key: content}
        self.touched.add(key)
        connection.sendall(self._request(key, content))
        assert _answered(connection) in ((202,) if content is None else (201, 204))
        self.acknowledged[key] = content
        self.open = {}

    def _request(self, key: int, content: bytes | None) -> bytes:
        query = "?fsync=true" if self.durable and content is not None else ""
        method, body = ("DELETE", b"") if content is None else ("PUT", content)
        head = f"{method} {self.path(key)}{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def path(self, key: int) -> str:
        return f"/{3 + self.number % 2},{self.number + 1:02x}{key:06x}0000000a"

    def wrong(self, server: VolumeServer, keys: Collection[int]) -> list[str]:
        """Paths that do not read as acknowledged; what was open may read either way, and is settled by it."""
        found = []
        for key in keys:
            answer = request(server.admin, "GET", self.path(key))
            read = answer.body if answer.status == 200 else None
            allowed = [self.acknowledged.get(key), self.open.get(key, self.acknowledged.get(key))]
            if read not in allowed or answer.status not in (200, 404):
                found.append(f"{self.path(key)}: {answer.status}, {len(answer.body)} bytes")
            if key in self.open:
                self.acknowledged[key] = read
        return found


def _answered(connection: socket.socket) -> int:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise BrokenAnswer("closed")
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(parse(head + b"\r\n\r\n", without_body=True).header("content-length") or 0)
    while len(body) < length:
        piece = connection.recv(65536)
        if not piece:
            raise BrokenAnswer("closed")
        body += piece
    return int(head.split(b" ", 2)[1])


def test_no_acknowledged_write_or_delete_is_lost_by_20_kills(tmp_path: Path) -> None:
    random = Random(7)
    writers = [Writer(number, Random(number), durable=number % 2 == 1) for number in range(WRITERS)]
    with Cluster(tmp_path, "ours") as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        cluster.allocate(4)
        for round_ in range(ROUNDS):
            threads = [threading.Thread(target=writer.run, args=(server,)) for writer in writers]
            for thread in threads:
                thread.start()
            time.sleep(random.uniform(WRITE_S_MIN, WRITE_S_MAX))
            server.kill()
            for thread in threads:
                thread.join()
            server.restart()
            wrong = [line for writer in writers for line in writer.wrong(server, writer.touched)]
            assert wrong == [], round_
        assert all(len(writer.acknowledged) > ROUNDS for writer in writers)
        # The files are as good for the real server as they are for ours.
        for kind in KINDS:
            server.stop()
            server.restart(kind=kind)
            assert [line for writer in writers for line in writer.wrong(server, writer.acknowledged)] == []
