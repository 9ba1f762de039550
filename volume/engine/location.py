"""One data directory: what lies in it, and the volumes that are served from it."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from less_sync.volume.engine.files import Files
from less_sync.volume.engine.info_file import read_volume_info
from less_sync.volume.engine.load import Loader, VolumeFiles
from less_sync.volume.engine.volume import Volume
from less_sync.volume.engine.volume_state import Loaded
from less_sync.volume.format.errors import FormatError
from less_sync.volume.format.names import base_name, parse_base_name
from less_sync.volume.logs import Logger
from less_sync.volume.options import DirectoryOptions

IDENTITY_NAME: Final = "vol_dir.uuid"
NOTE: Final = ".note"
"""The volume is a copy that was not finished."""
VOLUME_EXTENSIONS: Final = (".dat", ".idx", ".sdx", ".cpd", ".cpx", ".cpc", ".ldb", ".rdb", NOTE)
"""What goes with a volume, beside its `.vif`."""
_NAMED_BY: Final = (".idx", ".vif")
_VACUUM: Final = (".cpc", ".cpd", ".cpx")
_EC_INDEX: Final = ".ecx"
_NOTE_BYTES_MAX: Final = 1_024
_log: Final = Logger(__name__)


class Location:
    """A data directory. `disk_id` counts from 0 in the order of the command line."""

    def __init__(self, options: DirectoryOptions, index_directory: Path | None, disk_id: int) -> None:
        self.options: Final = options
        self.directory: Final = options.path
        self.index_directory: Final = index_directory or options.path
        self.disk_id: Final = disk_id
        disk_type = options.disk_type.lower()
        self.disk_type: Final = "" if disk_type == "hdd" else disk_type
        """As the master knows it: empty for `hdd`."""
        self.tags: Final = options.tags
        self.max_volumes = options.max_volumes
        self.uuid = ""
        """Text of the identity that the directory got at its first start."""
        self.volumes: Final[dict[int, Volume]] = {}
        self.being_created: Final[set[int]] = set()
        """Ids that have their place here before they are in `volumes`."""
        self.is_low = False
        """Too little space is free: its volumes take no writes."""
        self.is_failed = False
        """The disk does not answer."""

    @property
    def has_room(self) -> bool:
        """Whether another volume may be created here."""
        taken = len(self.volumes) + len(self.being_created)
        return not self.is_low and not self.is_failed and not 0 < self.max_volumes <= taken

    @property
    def local_volumes(self) -> int:
        """Volumes whose data lies here and not in a remote store, those being created included."""
        return len(self.being_created) + sum(not volume.is_remote for volume in self.volumes.values())

    def identify(self, files: Files) -> None:
        """Read the identity of the directory, or give it one. Blocking.

        Raises:
            OSError: the directory is not there, or may not be written.
        """
        path = self.directory / IDENTITY_NAME
        self.uuid = path.read_text().strip() if path.exists() else ""
        if not self.uuid:
            self.uuid = str(uuid.uuid4())
            files.replace_text(path, self.uuid.encode())

    def place(self, base: str) -> VolumeFiles:
        """Where the files of a volume lie."""
        return VolumeFiles(self.directory, self.index_directory, base)

    def bases(self, volume_id: int | None = None) -> list[tuple[str, int, str]]:
        """Collection, id and base name of whatever has an index or a volume info here, in order. Blocking.

        With `volume_id` only what has this id.
        """
        found: dict[str, tuple[str, int, str]] = {}
        for path in sorted(self.directory.iterdir()):
            if path.suffix not in _NAMED_BY or path.stem in found or not path.is_file():
                continue
            try:
                collection, id_ = parse_base_name(path.stem)
                path.stem.encode()  # a collection is text, which the master is told of
            except (FormatError, UnicodeEncodeError):
                _log.warning("not the name of a volume", file=path.name)
                continue
            if base_name(collection, id_) != path.stem:
                _log.warning("not the usual name of a volume, passed over", file=path.name)
            elif volume_id in {None, id_}:
                found[path.stem] = (collection, id_, path.stem)
        return list(found.values())

    def load(self, loader: Loader, base: str) -> Loaded | None:
        """Open a volume, or see that there is nothing to serve under the name. Blocking.

        What an unfinished copy left is removed. Files of an erasure-coded volume are left alone.

        Raises:
            VolumeNotLoaded: there is a volume that cannot be served.
            OSError: the disk failed.
        """
        place = self.place(base)
        if any(path.exists() for path in self._both(base, _EC_INDEX)):
            return None
        note = self.directory / f"{base}{NOTE}"
        if note.exists():
            text = note.read_bytes()[:_NOTE_BYTES_MAX].decode(errors="replace")
            _log.warning("a copy of a volume was not finished; its files are removed", volume=base, note=text)
            self.remove(loader.files, base)
            return None
        if not place.data.exists():
            info = read_volume_info(place.info)
            if info is None or not info.files:
                return None
        return loader.load(place)

    def remove(self, files: Files, base: str) -> None:
        """Remove all files of a volume; the `.vif` stays where an erasure-coded volume needs it. Blocking.

        Raises:
            OSError: the disk refused.
        """
        shares_info = any(path.exists() and path.stat().st_size for path in self._both(base, _EC_INDEX))
        for extension in (*VOLUME_EXTENSIONS, *(() if shares_info else (".vif",))):
            for path in self._both(base, extension):
                files.remove_tree(path)
        for directory in {self.directory, self.index_directory}:
            files.sync_directory(directory)

    def _both(self, base: str, extension: str) -> Iterator[Path]:
        for directory in sorted({self.directory, self.index_directory}):
            yield directory / f"{base}{extension}"


def unfinished_vacuums(location: Location) -> dict[int, list[str]]:
    """Base names of which a vacuum left something, and whose data is here, by id. Blocking."""
    names = {path.name for path in location.directory.iterdir()}
    names_of_index = {path.name for path in location.index_directory.iterdir()}
    left = {Path(name).stem for name in names | names_of_index if name.endswith(_VACUUM)}
    # An index directory may be shared: what belongs to a volume of another data directory is its matter.
    own = {Path(name).stem for name in names if name.endswith((*_VACUUM, ".dat", *_NAMED_BY))}
    found: dict[int, list[str]] = {}
    for base in sorted(left & own):
        try:
            found.setdefault(parse_base_name(base)[1], []).append(base)
        except FormatError:
            _log.warning("not the name of a volume", file=base)
    return found
