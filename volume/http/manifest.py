"""The list of chunks that a large file is stored as.

    {"name": "a.mp4", "mime": "video/mp4", "size": 9, "chunks": [
        {"fid": "3,01637037d6", "offset": 0, "size": 9}
    ]}

A list may come from anybody who may write, so that its length, its depth and its numbers are bounded.
"""

import asyncio
import json
from typing import Final, NamedTuple

from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import Bytes

MANIFEST_BYTES_MAX: Final = 4 << 20
"""Some 60,000 chunks. Reading the JSON holds up the event loop for some 50 ms then."""
LOOP_BYTES_MAX: Final = 16 << 10
"""Read on the event loop, in some 0.5 ms."""
CHUNKS_MAX: Final = 100_000
DEPTH_MAX: Final = 4
"""Lists in which chunks are lists again; without a bound a list of itself would never end."""
_I64_MAX: Final = 2**63 - 1


class Chunk(NamedTuple):
    """`size` bytes of the file from `offset`, stored under `fid`."""

    fid: str
    offset: int
    size: int


class Manifest(NamedTuple):
    """Chunks in the order of their offsets. The list says `told_size`; `size` is the sum of its chunks."""

    name: str
    mime: str
    told_size: int
    size: int
    chunks: tuple[Chunk, ...]


async def load_manifest(data: Bytes) -> Manifest | None:
    """The same in a thread, if it is long."""
    if len(data) <= LOOP_BYTES_MAX:
        return parse_manifest(data)
    return await to_the_end(asyncio.to_thread(parse_manifest, data))


def parse_manifest(data: Bytes) -> Manifest | None:
    """Read a list of chunks; None if that is none, and the file has to be taken as it is."""
    if len(data) > MANIFEST_BYTES_MAX:
        return None
    try:
        told = json.loads(bytes(data).decode("utf-8", "replace"), parse_constant=_refuse)
        if told is None:
            return Manifest("", "", 0, 0, ())
        entries = told.get("chunks")
        if entries is None:
            entries = []
        if not isinstance(entries, list) or len(entries) > CHUNKS_MAX:
            return None
        chunks = sorted(map(_chunk, entries), key=lambda chunk: chunk.offset)
        size = sum(chunk.size for chunk in chunks)
        _number(size)
        return Manifest(
            _text(told.get("name")), _text(told.get("mime")), _number(told.get("size")), size, tuple(chunks)
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _chunk(entry: object) -> Chunk:
    if not isinstance(entry, dict):
        raise TypeError("a chunk is no object")
    return Chunk(_text(entry.get("fid")), _number(entry.get("offset")), _number(entry.get("size")))


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError("no text")
    return value or ""


def _number(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= _I64_MAX:
        raise TypeError("no number of bytes")
    return value


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON")
