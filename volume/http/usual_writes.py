"""A usual write: a short file, as it is, into a volume that is on this server alone (see `usual`)."""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.format.checksums import Bytes, crc32c, cut
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_MIME, HAS_NAME, TEXT_BYTES_MAX, Needle
from less_sync.volume.http.multipart import scan_usual
from less_sync.volume.http.parameters import TYPES_KEPT_MAX
from less_sync.volume.http.upload import is_compressible, mime_of_part
from less_sync.volume.http.write import is_plain, stored_answer

if TYPE_CHECKING:
    from less_sync.volume.http.limits import InFlight
    from less_sync.volume.http.mime import Types
    from less_sync.volume.http.replicate import Replication
    from less_sync.volume.services import Services

_FLAGS: Final = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED


@lru_cache(TYPES_KEPT_MAX)
def is_usual(mime: bytes) -> bool:
    """Whether the answer can tell the type as it is, and files of it are stored as they come.

    A file without a type, or with a name that is nothing but an extension, may be compressed all the same.
    """
    if len(mime) > TEXT_BYTES_MAX or not is_plain(b"", mime):
        return False
    return not mime or not is_compressible(b"", mime, b"x")


class UsualWrites:
    """Stores short files whose bytes are here, where nothing has to be waited for."""

    def __init__(
        self, services: "Services", uploads: "InFlight", replication: "Replication", types: "Types"
    ) -> None:
        self._types: Final = types
        self._volume: Final = services.store.volume
        self._security: Final = services.security
        self._clock: Final = services.clock
        self._uploads: Final = uploads
        self._has_copies: Final = replication.has_copies
        self._fixes_photographs: Final = services.options.fix_orientation
        self._file_bytes_max: Final = services.options.file_bytes_max

    def file_in(
        self, buffer: bytearray, start: int, end: int, boundary: bytes
    ) -> tuple[bytes, bytes, Bytes] | None:
        """Name, type and data of the file in a body of the usual form."""
        form = scan_usual(buffer, start, end, boundary)
        if form is None:
            return None
        part = form.file
        return part.file_name, mime_of_part(part, self._types), cut(buffer, part.start, part.end)

    def store(
        self,
        peer_ip: str,
        volume_id: int,
        key: int,
        cookie: int,
        name: bytes,
        mime: bytes,
        data: Bytes,
        modified_s: int,
    ) -> tuple[str, bytes] | None:
        """Header lines and body of the answer to a file that is stored now; `modified_s` 0 is now.

        None: nothing was changed, and the general way has to answer.
        """
        security = self._security
        if self._uploads.is_over or security.wants_token(True) or not security.listed(peer_ip):
            return None
        if self._fixes_photographs or not 0 < len(data) <= self._file_bytes_max:
            return None
        if not (is_usual(mime) and is_plain(name, b"")) or len(name) > TEXT_BYTES_MAX:
            return None
        if (not mime or name.startswith(b".")) and is_compressible(name, mime, data):
            return None
        volume = self._volume(volume_id)
        if volume is None or self._has_copies(volume):
            return None
        try:
            needle = Needle(
                key, cookie, data, _FLAGS, name, mime, modified_s or int(self._clock()), checksum=crc32c(data)
            )
            written = volume.try_write(needle)
        except (VolumeError, OSError):
            return None
        if written is None or written.unchanged:
            return None
        return stored_answer(name, len(data), f"{needle.checksum:08x}", mime)
