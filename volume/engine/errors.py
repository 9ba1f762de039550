"""What can go wrong with a volume. The text of an error is what a client or the master is told.

    VolumeError
    ├── NeedleNotFound          nothing stored under the id, or expired
    │   └── NeedleDeleted       it was stored and is deleted
    ├── DamagedRecord           the bytes on disk contradict each other or the index
    ├── CookieMismatch          the id belongs to a needle with another cookie
    ├── ReadOnlyVolume          the volume takes no writes, or no deletions
    ├── VolumeClosed            it was unmounted or deleted meanwhile
    ├── VolumeBusy              too many wait to change it already
    ├── VolumeNotFound          not on this server
    ├── VolumeNotEmpty          asked to be deleted only if empty
    ├── VolumeExists            asked to be created a second time
    ├── VolumeNotLoaded         its files cannot be served; it is left alone
    ├── VolumeSizeExceeded      the record would begin beyond what an index can point at
    ├── NoSpace                 no data directory may take another volume
    ├── WriteFailed             the disk refused a record or a row; nothing was stored
    ├── ConfigureFailed         a replica placement was not changed, or the volume not mounted again
    └── StateMismatch           the state of the server has changed meanwhile

`OSError` of a read passes through as it is.
"""


class VolumeError(Exception):
    """Anything that a volume, or the server's set of them, refuses or fails to do."""


class NeedleNotFound(VolumeError):
    """There is no such needle, or its time is over."""

    def __init__(self, text: str = "not found") -> None:
        super().__init__(text)


class NeedleDeleted(NeedleNotFound):
    """There was one."""

    def __init__(self, text: str = "already deleted") -> None:
        super().__init__(text)


class DamagedRecord(VolumeError):
    """A record with a wrong checksum, size or length, or one that lies beyond the end of the file."""


class CookieMismatch(VolumeError):
    """The id is taken by a needle with another cookie, deleted ones included."""


class ReadOnlyVolume(VolumeError):
    """The volume takes no writes, or no deletions."""


class VolumeClosed(VolumeError):
    """The volume was closed while somebody still held it."""


class VolumeBusy(VolumeError):
    """As many wait for their turn as may."""


class VolumeNotFound(VolumeError):
    """The server does not have the volume."""


class VolumeNotEmpty(VolumeError):
    """Something is stored in a volume that was to be deleted only if empty."""

    def __init__(self, text: str = "volume not empty") -> None:
        super().__init__(text)


class VolumeExists(VolumeError):
    """The server has the volume already."""


class VolumeNotLoaded(VolumeError):
    """The files of a volume are not such that it can be served; they are left as they are."""


class VolumeSizeExceeded(VolumeError):
    """The data file ends where no row of its index could point at."""


class NoSpace(VolumeError):
    """No data directory may take another volume."""

    def __init__(self, text: str = "No more free space left") -> None:
        super().__init__(text)


class WriteFailed(VolumeError):
    """The disk refused; nothing was stored."""


class StateMismatch(VolumeError):
    """The state of the server was changed by somebody else."""


class ConfigureFailed(VolumeError):
    """A replica placement was not changed; `step`, which may be empty, says at what it failed."""

    def __init__(self, step: str, text: str) -> None:
        super().__init__(text)
        self.step = step
