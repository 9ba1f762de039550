"""This side of the folder: what is in it now, and what is remembered of each record. No network.

Blocking, one call at a time. Order of writes, always: the disk first, the state after it. State rows are
gathered and written in groups; whatever a kill cuts off is recognised by content at the next pull.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.client.folder.crypto import RecordCipher, content_bytes_max
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.own_files import OwnFiles
from less_sync.client.folder.plan import Absent, Content, Local
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.scan import Found, Scan, is_fresh, is_unchanged, scan_folder, too_large
from less_sync.client.folder.state import FolderState, Row
from less_sync.client.folder.walk import FileStat, Obstacle

NOT_PULLED: Final = "it changed on both sides; `pull` keeps both versions"
IGNORED_BEFORE: Final = "it was ignored when it changed on the server; `pull` takes that over"
NOT_DECRYPTABLE: Final = "the key file does not decrypt it"
OLDER: Final = "the server shows an older version than this device has seen"
UNPROVEN: Final = (
    "the server shows it as deleted, without proof; `less-sync trash --accept` with its path takes that"
)

_ROWS_GATHERED_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Here:
    """The file of a path, as it is now."""

    raw: str
    local: Local
    stat: FileStat | None = None
    noted_ns: int = 0


class LocalSide:
    """See the module. `tell` receives what happened to files."""

    def __init__(
        self,
        root: Path,
        state: FolderState,
        tree: FileTree,
        cipher: RecordCipher,
        *,
        tell: Callable[[Event], None],
        own: OwnFiles | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.root = root
        self.state = state
        self.tree = tree
        self.cipher = cipher
        self.tell = tell
        self.own = own or OwnFiles()
        self.wall_ns = wall_ns
        self.scan = Scan()
        self._gathered: dict[UUID, Row] = {}

    def rescan(self, *, tell: bool = True) -> Scan:
        """Walk the folder anew and name what is skipped, and once what is left out, unless `tell` is off.

        Raises:
            FolderError: the folder is not the one that was opened: moved, or its disk unmounted. Its files
                must not be taken for deleted. Or its `.less-sync` is gone.
        """
        if not self.tree.is_still_at(self.root):
            raise FolderError(f"{self.root} was moved or unmounted", "nothing was changed on the server")
        self.state.check_still_there()
        former = self.scan.ignore
        self.scan = scan_folder(self.root, self.own)
        if self.scan.ignore != former:
            self.scan.hold_back(former)
        self._ask_for_what_is_ignored_no_more()
        for path, reason in sorted(self.scan.skipped.items()) if tell else ():
            self.tell(Event(Kind.SKIPPED, path, reason))
        left_out = self.scan.left_out
        for path in sorted(self.state.new_left_out(left_out)) if tell else ():
            self.tell(Event(Kind.LEFT_OUT, path, left_out[path]))
        return self.scan

    def _ask_for_what_is_ignored_no_more(self) -> None:
        ignores = self.scan.ignore.hides
        rows = [row for row in self.state.ignored() if not ignores(row.path or "", is_folder=False)]
        if rows:
            self.state.put(replace(row, pending_reason=IGNORED_BEFORE) for row in rows)

    def differs_from(self, former: Mapping[str, Found]) -> bool:
        """Whether the last scan found anything that `former` did not, or a file too fresh to be sure of."""
        files = self.scan.files
        return files != former or any(is_fresh(found.stat, self.wall_ns()) for found in files.values())

    def here(self, path: str, row: Row) -> Here:
        """The file of a path, read unless its stat tells enough.

        Raises:
            Obstacle: it cannot be compared: skipped, in the way, or another file under this disk's rules.
            ChangedMeanwhile: it changed while it was read.
        """
        passed_over = self.scan.obstacle(path)
        if passed_over is not None:
            raise Obstacle(passed_over)
        raw = self.raw(path)
        noted_ns = self.wall_ns()
        found = self.tree.stat(raw)
        if found is None:
            return Here(raw, Absent())
        if path not in self.scan.files and not self.tree.is_spelled_so(raw):
            raise Obstacle("another file here has this name but for case or form")
        if isinstance(row.base, Content) and is_unchanged(row.stamp, found):
            assert row.stamp is not None
            return Here(raw, Content(row.base.digest), found, row.stamp.noted_ns)
        if found.size > content_bytes_max(path):
            raise Obstacle(f"the file here is {too_large(path, found.size)}")
        stat, content = self.tree.read(raw, content_bytes_max(path))
        return Here(raw, Content(hashlib.sha256(content).digest()), stat, noted_ns)

    def raw(self, path: str) -> str:
        """The path as the disk spells it."""
        found = self.scan.files.get(path)
        return found.raw if found is not None else path

    def row(self, record: UUID) -> Row | None:
        """What is remembered of a record."""
        return self._gathered.get(record) or self.state.get(record)

    def rows(self) -> dict[UUID, Row]:
        """All that is remembered, by record."""
        return {row.record: row for row in self.state.rows()} | self._gathered

    def note(self, row: Row) -> None:
        """Remember a row; on the disk it is at the next `flush`."""
        self._gathered[row.record] = row
        if len(self._gathered) >= _ROWS_GATHERED_MAX:
            self.flush()

    def flush(self) -> None:
        """Write the gathered rows in one transaction, once what they say of the folder is on the disk."""
        if self._gathered:
            self.tree.sync_folders()
            self.state.put(self._gathered.values())
            self._gathered.clear()

    def discard(self) -> None:
        """Drop gathered rows: what they say is to be found out again."""
        self._gathered.clear()


def settled(row: Row) -> Row:
    """The row without what was pending or under way."""
    return replace(row, stamp=None, pending_cursor=None, pending_reason="", sent=None)
