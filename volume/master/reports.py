"""What a heartbeat asks of a store, so that it can be tried without one."""

from collections.abc import Callable, Sequence
from typing import Protocol

from less_sync.volume.engine.reports import DiskReport, VolumeReport


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
        """All data directories, in order, and how many volumes each may hold as things stand now."""

    def take_limits(self, volume_bytes_max: int, preallocate: bool) -> bool:
        """Remember what the master said; True if a directory may hold another number of volumes now."""

    def watch(self, told: Callable[[Change], None]) -> None:
        """Have `told` called, on the loop, for every volume that comes or goes from now on."""
