"""What a heartbeat tells of volumes and disks, and whom it asks."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol


class VolumeReport(NamedTuple):
    """One volume. Equal reports are the same to a master."""

    id: int
    size: int
    """Bytes of the data file."""
    collection: str
    file_count: int
    deleted_count: int
    deleted_bytes: int
    read_only: bool
    placement: int
    version: int
    ttl: int
    """As in `format.ttl`."""
    revision: int
    modified_s: int
    """Unix time of the last append."""
    disk_type: str
    disk_id: int
    remote_name: str = ""
    remote_key: str = ""


class DiskReport(NamedTuple):
    """One data directory."""

    disk_id: int
    disk_type: str
    tags: tuple[str, ...]
    max_volumes: int
    """As configured, or worked out from the free space; 0 until the master has told the size of volumes."""
    slots: int
    """How many volumes it may hold now: on a disk low on space, those it has."""
    total_bytes: int
    free_bytes: int
    uuid: str
    healthy: bool = True
    max_file_key: int = 0


class Change(Protocol):
    """A volume that came or went."""

    @property
    def added(self) -> bool:
        """False: it went."""

    @property
    def volume_id(self) -> int: ...
    @property
    def collection(self) -> str: ...
    @property
    def placement(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def ttl(self) -> int: ...
    @property
    def disk_type(self) -> str: ...
    @property
    def disk_id(self) -> int: ...


class Reported(Protocol):
    """The store, as far as a heartbeat needs it."""

    def reports(self) -> Sequence[VolumeReport]:
        """All volumes that a master may know of."""

    def disk_reports(self) -> Sequence[DiskReport]:
        """All data directories, in order. Works out again how many volumes each may hold."""

    def take_limits(self, volume_bytes_max: int, preallocate: bool) -> bool:
        """Remember what the master said; True if a directory may hold another number of volumes now."""

    def watch(self, told: Callable[[Change], None]) -> None:
        """Have `told` called, on the loop, for every volume that comes or goes from now on."""
