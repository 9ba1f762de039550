"""How much memory strangers can take: `python -m tests.bench.strangers`.

2000 connections ask for a WebSocket and 1000 get one. Each of these sends a first message of the greatest
size but for its last byte, and the others send a request head that does not end. Nobody has a token.
"""

import argparse
import asyncio
import sys
from contextlib import AsyncExitStack
from typing import Final

from tests.bench import usage
from tests.bench.__main__ import database
from tests.bench.child import raise_open_files
from tests.wire.process import ServerProcess

KIB: Final = 1024
MIB: Final = 1024 * KIB
TRIES: Final = 2000
SETTLE_S: Final = 2.0
AT_ONCE: Final = 50
UPGRADE: Final = (
    b"GET /api/v1/ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: less-rpc-v1\r\n\r\n"
)


async def upgraded(port: int) -> asyncio.StreamWriter | None:
    """A WebSocket, or None: the server has no room for it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE)
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 101"):
        return writer
    writer.close()
    return None


async def unfinished_head(port: int, size: int) -> asyncio.StreamWriter:
    """A connection that has sent `size` bytes of a head, or what the server let it."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: h\r\nX: ".ljust(size, b"v"))
    return writer


async def attack(port: int, message_bytes: int, head_bytes: int) -> int:
    """Send everything and keep it open; returns how many got in."""
    inside: list[asyncio.StreamWriter] = []
    for _ in range(TRIES // AT_ONCE):
        tried = await asyncio.gather(*(upgraded(port) for _ in range(AT_ONCE)))
        inside += [writer for writer in tried if writer is not None]
    size = (
        (126).to_bytes(1) + message_bytes.to_bytes(2)
        if message_bytes < 1 << 16
        else b"\x7f" + message_bytes.to_bytes(8)
    )
    frame = b"\x82" + bytes([size[0] | 0x80]) + size[1:] + bytes(4) + bytes(message_bytes - 1)
    for writer in inside:
        writer.write(frame)
    heads: list[asyncio.StreamWriter] = []
    for _ in range((TRIES - len(inside)) // AT_ONCE):
        heads += await asyncio.gather(*(unfinished_head(port, head_bytes) for _ in range(AT_ONCE)))
    await asyncio.sleep(SETTLE_S)
    for writer in inside + heads:
        writer.transport.abort()
    return len(inside)


async def run(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        url, _ = await stack.enter_async_context(database(None))
        settings = {
            "DATABASE_URL": url,
            "TRUSTED_ISSUERS": "https://accounts.example=http://127.0.0.1:9/keys",
            "LIMIT_AUTH_TIMEOUT_S": "60",
            "LOG_LEVEL": "warn",
        }
        server = await stack.enter_async_context(ServerProcess(settings))
        for _ in range(64):
            writer = await upgraded(server.port)
            assert writer is not None, "there is room for a few"
            writer.transport.abort()
        await asyncio.sleep(SETTLE_S)
        before = usage.resident_bytes(server.pid)
        usage.reset_peak(server.pid)
        count = await attack(server.port, options.message_bytes, options.head_bytes)
        growth = (usage.peak_bytes(server.pid) - before) / MIB
        print(
            f"{TRIES} tried, {count} got in: {before / MIB:.1f} MiB before, {growth:.1f} MiB more at the peak"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.strangers", description=__doc__)
    parser.add_argument("--message-bytes", type=int, default=32 * KIB)
    parser.add_argument("--head-bytes", type=int, default=384 * KIB - 100)
    raise_open_files()
    asyncio.run(run(parser.parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
