"""This side of the folder: what is in it now, and what is remembered of each record. No network.

Blocking, one call at a time. Order of writes, always: the disk first, the state after it. State rows are
gathered and written in groups; whatever a kill cuts off is recognised by content at the next pull.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.errors import FolderError
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.hashing import hash_file
from less_sync.client.folder.own_files import OwnFiles
from less_sync.client.folder.plan import Absent, Content, Local
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.scan import Found, Scan, is_fresh, is_unchanged, scan_folder
from less_sync.client.folder.state import FolderState, Row
from less_sync.client.folder.transfers import KnownContent
from less_sync.client.folder.walk import FileStat, Obstacle

NOT_PULLED: Final = "it changed on both sides; `pull` keeps both versions"
IGNORED_BEFORE: Final = "it was ignored when it changed on the server; `pull` takes that over"
NOT_FETCHED: Final = "it is not downloaded yet; `pull` does that"
NOT_DECRYPTABLE: Final = "the key file does not decrypt it"
OLDER: Final = "the server shows an older version than this device has seen"
UNPROVEN: Final = (
    "the server shows it as deleted, without proof; `less-sync trash --accept` with its path takes that"
)

_ROWS_GATHERED_MAX: Final = 1024
_CONTENTS_GATHERED_MAX: Final = 64
_PARTS_GATHERED_MAX: Final = 16 * 1024
"""Of content records: 100 bytes or so each, and one of 4 MiB names a quarter of a million."""


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
        self._contents: dict[UUID, KnownContent] = {}
        self._parts = 0

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
        """The file of a path, read unless its stat tells enough; of any size, a chunk at a time.

        Raises:
            Obstacle: it cannot be compared: skipped, in the way, or another file under this disk's rules.
            ChangedMeanwhile: it changed while it was read.
            Stopped: the command is being stopped.
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
        now = hash_file(self.tree, raw)
        return Here(raw, Content(now.digest), now.stat, noted_ns)

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

    def content(self, record: UUID) -> KnownContent | None:
        """What is remembered of a content record."""
        return self._contents.get(record) or self.state.transfers.content(record)

    def is_to_be_pushed_again(self, row: Row) -> bool:
        """Whether the server lacks what both sides agreed on, even if the file is as it was.

        It shows an older version, or has lost the content record that the file's record points to.
        """
        if row.pending_cursor is not None:
            return row.pending_reason == OLDER
        return row.content is not None and self.content(row.content) is None

    def note_content(self, content: KnownContent) -> None:
        """Remember a content record; on the disk it is at the next `flush`."""
        self._contents[content.record] = content
        self._parts += len(content.plain.parts)
        if self._parts >= _PARTS_GATHERED_MAX or len(self._contents) >= _CONTENTS_GATHERED_MAX:
            self.flush()

    def forget_content(self, record: UUID) -> bool:
        """Forget a content record that was deleted on the server; False when it is none that was known."""
        noted = self._contents.pop(record, None) is not None
        return self.state.transfers.drop_content(record) or noted

    def flush(self) -> None:
        """Write what was gathered, once what it says of the folder is on the disk."""
        if self._contents:
            self.state.transfers.put_contents(self._contents.values())
            self._contents.clear()
            self._parts = 0
        if self._gathered:
            self.tree.sync_folders()
            self.state.put(self._gathered.values())
            self._gathered.clear()

    def discard(self) -> None:
        """Drop what was gathered: it is to be found out again."""
        self._gathered.clear()
        self._contents.clear()
        self._parts = 0


def settled(row: Row) -> Row:
    """The row without what was pending or under way."""
    return replace(row, stamp=None, pending_cursor=None, pending_reason="", sent=None)
