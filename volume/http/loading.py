"""A needle and where its data is: in memory if it is short, in its file if it is long."""

import asyncio
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.errors import DamagedRecord
from less_sync.volume.engine.threads import to_the_end
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.errors import DamagedNeedleError
from less_sync.volume.format.needle import Needle, verify
from less_sync.volume.http.content import Content, Held, Stored

if TYPE_CHECKING:
    from less_sync.volume.engine.volume import Volume

HELD_RECORD_BYTES_MAX: Final = (4 << 20) + (64 << 10)
"""A record up to this, 4 MiB of data and what is around it, is read into memory if all of it is wanted.
That, its checksum included, takes the event loop less time than a thread would cost."""
HELD_TOTAL_BYTES_MAX: Final = 128 << 20
"""While more is being sent than this, only records up to `HELD_LEAST_BYTES` are read into memory: many slow
clients would else hold a body each."""
HELD_LEAST_BYTES: Final = 64 << 10
_SUMMED_BYTES: Final = 1 << 20
"""What is read at once for a checksum."""


class TooLargeError(Exception):
    """The content does not fit into the memory that it may take."""


def load(
    volume: "Volume",
    id: int,  # noqa: A002
    size: int,
    held_bytes_max: int,
    *,
    deleted: bool = False,
) -> tuple[Needle, Held | Stored]:
    """Read a needle whose record has a body of `size` bytes; into memory if those are not too many.

    What is in memory has been checked; of what is in the file nothing has (`verify_stored`), and it must be
    released.

    Raises:
        NeedleNotFound, DamagedRecord, OSError: as `Volume.read`.
    """
    if size <= held_bytes_max:
        needle = volume.read(id, deleted=deleted)
        return needle, Held(needle.data)
    needle, file = volume.read_around(id, deleted=deleted)
    return needle, Stored(file)


async def verify_stored(needle: Needle, content: Stored) -> None:
    """Compare the checksum of data that is not in memory, in a thread.

    Raises:
        DamagedRecord: it differs, or the file ends before the data does.
        OSError: the disk failed.
    """
    computed = await to_the_end(asyncio.to_thread(_checksum, content))
    try:
        verify(needle, computed)
    except DamagedNeedleError as error:
        raise DamagedRecord(str(error)) from None


async def whole(content: Content, bytes_max: int) -> Held:
    """All of a content in memory; it stays to be released.

    Raises:
        TooLargeError: it has more than `bytes_max`.
    """
    if content.size > bytes_max:
        raise TooLargeError(f"{content.size} bytes are more than {bytes_max}")
    if isinstance(content, Held):
        return content
    return Held(b"".join([piece async for piece in content.stream(0, content.size)]))


def _checksum(content: Stored) -> int:
    computed = at = 0
    while at < content.size:
        piece = content.file.read(at, _SUMMED_BYTES)
        if not piece:
            raise DamagedRecord("EOF")
        computed = crc32c(piece, computed)
        at += len(piece)
    return computed
