"""The `.vif` of a volume: read without ever failing a load, replaced whole."""

from pathlib import Path
from typing import Final

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.engine.files import Files
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.ttl import ttl_minutes
from less_sync.volume.format.volume_info import VolumeInfo, decode_volume_info, encode_volume_info
from less_sync.volume.logs import Logger

INFO_BYTES_MAX: Final = 1 << 20
_OWNER_READS: Final = 0o400
_OWNER_WRITES: Final = 0o200
_log: Final = Logger(__name__)


def read_volume_info(path: Path) -> VolumeInfo | None:
    """What the file says; None if it is not there or empty, so that it should be written anew.

    A file that cannot be understood is taken for one that says nothing, and is left as it is.
    """
    try:
        status = path.stat()
        if not status.st_size:
            return None
        if not status.st_mode & _OWNER_READS or status.st_size > INFO_BYTES_MAX:
            raise FormatError("volume info may not be read, or is too large")
        return decode_volume_info(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, FormatError) as error:
        _log.warning("volume info not understood, taken as empty", file=path.name, reason=str(error))
        return VolumeInfo()


def save_volume_info(files: Files, path: Path, info: VolumeInfo, *, ttl: int, now_s: int) -> None:
    """Write the file; of a volume with a TTL also when it will be over. On the disk when this returns.

    Raises:
        VolumeError: there is one that its owner may not write.
        OSError: the disk refused; the old one is still there.
    """
    try:
        if not path.stat().st_mode & _OWNER_WRITES:
            raise VolumeError(f"failed to check {path} not writable : {path} not writable")
    except FileNotFoundError:
        pass
    if minutes := ttl_minutes(ttl):
        info.expire_at_sec = now_s + minutes * 60
    files.replace_text(path, encode_volume_info(info))
