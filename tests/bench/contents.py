"""Contents over bare sockets: what sends and fetches them, and the bare servers that are their floors."""

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast
from uuid import uuid4

import obstore
from obstore.store import S3Store

PIECE_BYTES: Final = 256 * 1024
PATIENCE_S: Final = 120.0
PART_BYTES: Final = 8 * 1024 * 1024
HEAD_END: Final = b"\r\n\r\n"
STORED: Final = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Transfers:
    """Commands of the load generator: a thread for each transfer, the same piece sent again and again."""

    def __init__(self) -> None:
        self._piece = os.urandom(PIECE_BYTES)

    def commands(self) -> Mapping[str, Callable[..., dict[str, Any]]]:
        return {"put": self.put, "get": self.get}

    def put(self, port: int, paths: list[str], size_bytes: int, headers: dict[str, str]) -> dict[str, Any]:
        """Upload to each path at once; how long it took until all were answered, and with what."""

        def one(path: str) -> int:
            with _connected(port) as link:
                link.sendall(_head("PUT", path, headers | {"Content-Length": str(size_bytes)}))
                for start in range(0, size_bytes, PIECE_BYTES):
                    link.sendall(self._piece[: size_bytes - start])
                return _status(_receive_head(link)[0])

        return _all_at_once(one, paths)

    def get(self, port: int, paths: list[str], size_bytes: int, headers: dict[str, str]) -> dict[str, Any]:
        """Download each path at once, and count what comes."""
        buffers = threading.local()

        def one(path: str) -> int:
            buffers.piece = bytearray(PIECE_BYTES)
            with _connected(port) as link:
                link.sendall(_head("GET", path, headers))
                head, rest = _receive_head(link)
                received = len(rest)
                while received < size_bytes and (count := link.recv_into(buffers.piece)):
                    received += count
                return _status(head) if received == size_bytes else 0

        return _all_at_once(one, paths)


def _all_at_once(one: Callable[[str], int], paths: list[str]) -> dict[str, Any]:
    started = time.perf_counter()
    with ThreadPoolExecutor(len(paths)) as threads:
        statuses = list(threads.map(one, paths))
    return {"seconds": time.perf_counter() - started, "statuses": statuses}


def _connected(port: int) -> socket.socket:
    link = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join(lines).encode() + HEAD_END


def _receive_head(link: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while HEAD_END not in received:
        piece = link.recv(PIECE_BYTES)
        if not piece:
            raise ConnectionError(f"hung up after {received!r}")
        received += piece
    head, _, rest = received.partition(HEAD_END)
    return head, rest


def _status(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A bucket of the S3 server that floor and server share."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str

    def open(self) -> S3Store:
        return S3Store(
            self.bucket,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "timeout": "10min"},
        )


class BareServers:
    """Commands of the floors: servers that do with a content what must be done, and nothing else."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []

    async def serve_directory(self, directory: str) -> dict[str, Any]:
        """Write, sync and rename what is put; read and send what is asked for."""
        server = await asyncio.get_running_loop().create_server(
            lambda: DirectoryProtocol(Path(directory)), "127.0.0.1", 0, backlog=1024
        )
        return self._port(server)

    async def serve_bucket(self, bucket: dict[str, str]) -> dict[str, Any]:
        """Pass on what is put, in parts of a multipart upload; pass back what is asked for."""
        store = BucketAddress(**bucket).open()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(HEAD_END)
            method, path, _ = head.decode().split(" ", 2)
            if method == "PUT":
                await _pass_on(reader, _length(head), store, path)
                writer.write(STORED)
            else:
                found = await obstore.get_async(store, path)
                writer.write(_found(found.meta["size"]))
                async for piece in found.stream(PIECE_BYTES):
                    writer.write(bytes(piece))
                    await writer.drain()
            writer.close()

        return self._port(await asyncio.start_server(answer, "127.0.0.1", 0, limit=PIECE_BYTES))

    def _port(self, server: asyncio.Server) -> dict[str, Any]:
        self._servers.append(server)
        return {"port": server.sockets[0].getsockname()[1]}


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    assert found is not None, head
    return int(found[1])


def _found(size_bytes: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size_bytes}\r\n\r\n".encode()


async def _pass_on(reader: asyncio.StreamReader, length: int, store: S3Store, path: str) -> None:
    upload = obstore.open_writer_async(store, path, buffer_size=PART_BYTES, max_concurrency=1)
    while length:
        piece = await reader.read(min(PIECE_BYTES, length))
        length -= len(piece)
        await upload.write(piece)
    await upload.close()


class DirectoryProtocol(asyncio.Protocol):
    """One request a connection. The loop waits for the disk: nobody else is served meanwhile."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._head = b""
        self._fd: int | None = None
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._fd is None:
            self._head += data
            if HEAD_END not in self._head:
                return
            head, _, data = self._head.partition(HEAD_END)
            method, path, _ = head.decode().split(" ", 2)
            self._final = self._directory / path.rpartition("/")[2]
            if method == "GET":
                self._send()
                return
            self._left = _length(head)
            self._staged = self._final.with_name(f"{self._final.name}#{uuid4().int}")
            self._fd = os.open(self._staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(self._fd, data)
        self._left -= len(data)
        if not self._left:
            os.fsync(self._fd)
            os.close(self._fd)
            self._staged.rename(self._final)
            self._transport.write(STORED)

    def _send(self) -> None:
        self._fd = os.open(self._final, os.O_RDONLY)
        self._left = os.fstat(self._fd).st_size
        self._transport.set_write_buffer_limits(high=PIECE_BYTES)
        self._transport.write(_found(self._left))
        self.resume_writing()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        while self._fd is not None and self._left and not self._paused:
            piece = os.read(self._fd, PIECE_BYTES)
            self._left -= len(piece)
            self._transport.write(piece)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._fd is not None and self._left == 0:
            self._fd = None
