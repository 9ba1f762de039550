"""One data directory and the volumes in it."""

from pathlib import Path
from typing import Final

from less_sync.volume.engine.volume import Volume
from less_sync.volume.options import DirectoryOptions


class Location:
    """A data directory. `disk_id` counts from 0 in the order of the command line."""

    def __init__(self, options: DirectoryOptions, index_directory: Path | None, disk_id: int) -> None:
        self.options: Final = options
        self.directory: Final = options.path
        self.index_directory: Final = index_directory or options.path
        self.disk_id: Final = disk_id
        self.disk_type: Final = options.disk_type
        self.tags: Final = options.tags
        self.max_volumes = options.max_volumes
        self.uuid = ""
        """Text of the identity that the directory got at its first start."""
        self.volumes: Final[dict[int, Volume]] = {}
        self.is_low = False
        """Too little space is free: its volumes take no writes."""
        self.is_failed = False
        """The disk does not answer."""
