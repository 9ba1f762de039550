"""A way to a Postgres that takes so many bytes, then nothing for a while, and is cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, quote, urlsplit

STALLED_S: Final = 0.5
"""Long enough for whoever writes to have filled what the way holds, and to wait."""
_PIECE_BYTES: Final = 65_536
_SOCKET: Final = ".s.PGSQL.5432"


@asynccontextmanager
async def cut_after(url: str, place: Path, taken_bytes: int) -> AsyncIterator[str]:
    """Another URL for the Postgres of a socket; each of its connections is cut after so many bytes."""
    [there] = parse_qs(urlsplit(url).query)["host"]

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_unix_connection(Path(there, _SOCKET))
        back = asyncio.create_task(_pump(answers, writer))
        try:
            left = taken_bytes
            while left > 0 and (piece := await reader.read(_PIECE_BYTES)):
                questions.write(piece)
                await questions.drain()
                left -= len(piece)
            if left <= 0:
                await asyncio.sleep(STALLED_S)
        finally:
            back.cancel()
            questions.transport.abort()
            writer.transport.abort()

    server = await asyncio.start_unix_server(carry, place / _SOCKET, limit=_PIECE_BYTES)
    try:
        yield url.replace(quote(there, safe="/"), quote(str(place), safe="/"))
    finally:
        server.close()
        await server.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(_PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
