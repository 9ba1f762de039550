"""Requests byte by byte, for what no HTTP library sends."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.fleet.rig import KEY, TIMEOUT_S, Fleet

AUTHORIZED = f"Authorization: Bearer {KEY}"


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, fleet: Fleet | str) -> "Wire":
        """Connect to a plane, or to whatever is at a URL."""
        address = urlsplit(fleet if isinstance(fleet, str) else fleet.url)
        return cls(*await asyncio.open_connection(address.hostname, address.port))

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(content)

    def ask(self, first: str, *headers: str, body: bytes = b"") -> None:
        """Send a request: its first line without the version, and its headers."""
        lines = [f"{first} HTTP/1.1", "Host: fleet", *headers, "", ""]
        self.send("\r\n".join(lines).encode("latin-1") + body)

    async def heard(self) -> Heard:
        """The next answer."""
        async with asyncio.timeout(TIMEOUT_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = [line.partition(": ") for line in head[1:] if line]
            headers = {name.lower(): text for name, _, text in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Heard(int(head[0].split()[1]), headers, body)

    def close(self) -> None:
        """Hang up."""
        self._writer.close()


async def ask(fleet: Fleet | str, first: str, *headers: str, body: bytes = b"") -> Heard:
    """The answer to one request on a connection of its own."""
    wire = await Wire.open(fleet)
    try:
        wire.ask(first, *headers, body=body)
        return await wire.heard()
    finally:
        wire.close()
