"""A usual write: a short file, as it is, into a volume that is on this server alone (see `usual`)."""

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.format.checksums import crc32c
from less_sync.volume.format.needle import HAS_LAST_MODIFIED, HAS_MIME, HAS_NAME, TEXT_BYTES_MAX, Needle
from less_sync.volume.http.parameters import TYPES_KEPT_MAX, ParameterError, is_form
from less_sync.volume.http.upload import is_compressible
from less_sync.volume.http.write import is_plain, stored_answer

if TYPE_CHECKING:
    from less_sync.volume.http.limits import InFlight
    from less_sync.volume.http.replicate import Replication
    from less_sync.volume.services import Services

_FLAGS: Final = HAS_NAME | HAS_MIME | HAS_LAST_MODIFIED


@lru_cache(TYPES_KEPT_MAX)
def is_kept_as_it_is(mime: bytes) -> bool:
    """Whether a file of this type is stored as it comes, whatever its data, and the answer can tell it."""
    if len(mime) > TEXT_BYTES_MAX or not is_plain(b"", mime):
        return False
    try:
        return not is_form(mime) and not is_compressible(b"", mime, b"x")
    except ParameterError:
        return False


class UsualWrites:
    """Stores short files whose bytes are here, where nothing has to be waited for."""

    def __init__(self, services: "Services", uploads: "InFlight", replication: "Replication") -> None:
        self._volume: Final = services.store.volume
        self._security: Final = services.security
        self._clock: Final = services.clock
        self._uploads: Final = uploads
        self._has_copies: Final = replication.has_copies
        self._fixes_photographs: Final = services.options.fix_orientation
        self._file_bytes_max: Final = services.options.file_bytes_max

    def store(
        self, peer_ip: str, volume_id: int, key: int, cookie: int, name: bytes, mime: bytes, data: bytes
    ) -> tuple[str, bytes] | None:
        """Header lines and body of the answer to a file that is stored now.

        None: nothing was changed, and the general way has to answer.
        """
        security = self._security
        if self._uploads.is_over or security.wants_token(True) or not security.listed(peer_ip):
            return None
        if self._fixes_photographs or len(data) > self._file_bytes_max:
            return None
        if not (is_kept_as_it_is(mime) if mime else not is_compressible(name, mime, data)):
            return None
        volume = self._volume(volume_id)
        if volume is None or self._has_copies(volume):
            return None
        try:
            needle = Needle(key, cookie, data, _FLAGS, name, mime, int(self._clock()), checksum=crc32c(data))
            written = volume.try_write(needle)
        except (VolumeError, OSError):
            return None
        if written is None or written.unchanged:
            return None
        return stored_answer(name, len(data), f"{needle.checksum:08x}", mime)
