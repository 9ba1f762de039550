"""What is in a folder now: one walk, stat only, nothing opened but ignore files and no link followed."""

import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.ignore import IGNORE_FILE, Ignore
from less_sync.client.folder.own_files import OwnFiles, data_directory
from less_sync.client.folder.paths import is_state_dir, path_problem
from less_sync.client.folder.state import Stamp
from less_sync.client.folder.walk import FileStat

FILE_BYTES_MAX: Final = 10 * 1024**3
"""Largest file that is synced."""

_RACY_NS: Final = 20_000_000
_RACY_COARSE_NS: Final = 2_000_000_000
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """A file that can be synced. `raw` is its path as the disk spells it, which need not be NFC."""

    raw: str
    stat: FileStat


@dataclass(slots=True)
class Scan:
    """The folder at one moment."""

    files: dict[str, Found] = field(default_factory=dict)
    """By synced path (NFC)."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What should be synced and cannot be: exact path to the reason. In the disk's spelling for a twin."""
    twins: set[str] = field(default_factory=set)
    """Synced paths that several names here have, in different Unicode forms; one of them counts."""
    left_out: dict[str, str] = field(default_factory=dict)
    """What is never synced, links and special files: exact path to the reason."""
    ignored: set[str] = field(default_factory=set)
    """What an ignore file hides; a folder stands for all that is in it."""
    ignore: Ignore = field(default_factory=Ignore)
    """The rules themselves, for paths that are not here."""

    def covers(self, path: str) -> bool:
        """Whether `path` or a folder above it was passed over: its absence then means nothing."""
        passed_over = (self.skipped, self.left_out, self.twins)
        if any(above in them for above in _lineage(path) for them in passed_over):
            return True
        return self.ignore.hides(path, is_folder=False)

    def hold_back(self, former: Ignore) -> None:
        """Ignore what `former` hid too.

        An ignore file that is being saved is away or empty for a moment: what it hides is let out only when
        the next scan finds it so again.
        """
        held = {path for path in self.files if former.hides(path, is_folder=False)}
        for path in held:
            del self.files[path]
        self.ignored |= held

    def obstacle(self, path: str) -> str | None:
        """Why `path`, or a folder above it, was skipped; None when it was not. A pull leaves it alone too."""
        reasons = (self.skipped.get(above) for above in _lineage(path))
        return next((reason for reason in reasons if reason is not None), None)


def _lineage(path: str) -> Iterator[str]:
    """The path and the folders above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def scan_folder(root: Path, own: OwnFiles | None = None) -> Scan:
    """Walk the folder. What cannot be synced is named in `skipped` or `left_out`, never an error.

    Ignored folders are not entered. What is known to be a secret of this program without a look inside is
    skipped; `own` says which are in use, and is refreshed.

    Raises:
        UsageProblem: the folder itself cannot be read, or is the data directory of a server; or an ignore
            file in it cannot be read or understood.
    """
    own = own or OwnFiles()
    own.refresh()
    scan = Scan()
    waiting = [("", "")]
    while waiting:
        raw_folder, folder = waiting.pop()
        try:
            with os.scandir(root / raw_folder) as listed:
                entries = list(listed)
        except OSError as error:
            if not raw_folder:
                raise UsageProblem(f"cannot read {root}: {error.strerror}") from error
            if not isinstance(error, FileNotFoundError):
                scan.skipped[folder] = f"the folder cannot be read: {error.strerror}"
            continue
        names = {entry.name for entry in entries}
        reason = data_directory(root / raw_folder, names)
        if reason is not None:
            if not raw_folder:
                raise UsageProblem(f"{root}: {reason}")
            scan.skipped[folder] = reason
            continue
        if IGNORE_FILE in names:
            scan.ignore.read(folder, root / raw_folder / IGNORE_FILE)
        for name, entry in _by_name(scan, entries, raw_folder, folder):
            below = _look_at(scan, entry, _below(raw_folder, entry.name), folder, name, own)
            if below is not None:
                waiting.append(below)
    return scan


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _by_name(
    scan: Scan, entries: list[os.DirEntry[str]], raw_folder: str, folder: str
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The entries by synced name (NFC). Of several with one name the NFC spelling counts, else the first."""
    found: dict[str, os.DirEntry[str]] = {}
    for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
        name = unicodedata.normalize("NFC", entry.name)
        if is_state_dir(name):
            continue
        other = found.setdefault(name, entry)
        if other is entry:
            continue
        twin = entry
        if entry.name == name:
            found[name], twin = entry, other
        path = _below(folder, name)
        if not scan.ignore.hides_entry(path, is_folder=twin.is_dir(follow_symlinks=False)):
            scan.twins.add(path)
            scan.skipped[_below(raw_folder, twin.name)] = "the same name in another Unicode form is synced"
    yield from found.items()


def _look_at(
    scan: Scan, entry: os.DirEntry[str], raw: str, folder: str, name: str, own: OwnFiles
) -> tuple[str, str] | None:
    """Note one entry; a folder to walk is returned as (raw, synced) path."""
    path = _below(folder, name)
    if scan.ignore.hides_entry(path, is_folder=entry.is_dir(follow_symlinks=False)):
        scan.ignored.add(path)
        return None
    problem = path_problem(path)
    if problem is not None:
        scan.skipped[raw] = problem
        return None
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        scan.skipped[path] = f"it cannot be read: {error.strerror}"
        return None
    if stat.S_ISDIR(found.st_mode):
        return raw, path
    if stat.S_ISLNK(found.st_mode):
        scan.left_out[path] = "symbolic links are not synced"
    elif not stat.S_ISREG(found.st_mode):
        scan.left_out[path] = "it is no regular file"
    elif (reason := own.is_one(folder, name, found)) is not None:
        scan.skipped[path] = reason
    elif found.st_size > FILE_BYTES_MAX:
        scan.skipped[path] = too_large(found.st_size)
    else:
        scan.files[path] = Found(
            raw, FileStat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        )
    return None


def too_large(size_bytes: int) -> str:
    """Say that a file is larger than any that is synced."""
    return f"too large: {size_bytes:,} bytes, and files of up to {FILE_BYTES_MAX:,} are synced"


def is_unchanged(stamp: Stamp | None, found: FileStat) -> bool:
    """Whether the content is certainly the one that `stamp` was taken of.

    A file written in the same clock tick in which it was looked at could have changed without its stat
    showing it; such a file is read once more. Disks that keep whole seconds have long ticks.
    """
    if stamp is None or (stamp.size, stamp.mtime_ns, stamp.ctime_ns, stamp.inode) != found:
        return False
    return not is_fresh(found, stamp.noted_ns)


def is_fresh(found: FileStat, now_ns: int) -> bool:
    """Whether a write after `now_ns` could leave this stat as it is."""
    coarse = found.mtime_ns % _SECOND_NS == 0 and found.ctime_ns % _SECOND_NS == 0
    return found.ctime_ns >= now_ns - (_RACY_COARSE_NS if coarse else _RACY_NS)


def stamp_of(found: FileStat, noted_ns: int) -> Stamp:
    """The stamp of a file whose content was known at `noted_ns`."""
    return Stamp(*found, noted_ns)
