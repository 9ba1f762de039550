"""Records in: what the server has, brought into the folder, noted, or merely told.

    open ─▶ is it older than what was seen? ─▶ decide (plan.py) ─▶ act on the folder ─▶ remember

Files are written aside as they come and put in place a batch at a time. Deletions wait until the whole pull
has been seen, so that one which would empty the folder can be stopped before the first file goes. Large files
are only noted as *wanted*: whoever has a network downloads them and brings each back to `place_fetched`.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from less_sync.client.folder.arrivals import Arrival, Incoming, Mode, Placement, PullCount, Wanted
from less_sync.client.folder.crypto import Undecryptable
from less_sync.client.folder.deletions import DeletionGuard
from less_sync.client.folder.local import (
    NOT_DECRYPTABLE,
    NOT_FETCHED,
    NOT_PULLED,
    OLDER,
    UNPROVEN,
    Here,
    LocalSide,
    settled,
)
from less_sync.client.folder.paths import conflict_path, path_problem
from less_sync.client.folder.plaintext import (
    FileKind,
    ForeignRecord,
    OtherKind,
    PlainContent,
    PlainFile,
)
from less_sync.client.folder.plan import (
    Absent,
    Action,
    Content,
    DeleteHere,
    Download,
    KeepBoth,
    Note,
    Nothing,
    Remote,
    Tombstone,
    Upload,
    UploadDeletion,
    decide,
)
from less_sync.client.folder.report import Event, Kind
from less_sync.client.folder.scan import stamp_of
from less_sync.client.folder.state import OTHER_KIND, Row
from less_sync.client.folder.transfers import IGNORED, KnownContent
from less_sync.client.folder.walk import ChangedMeanwhile, Obstacle

_ATTEMPTS_MAX: Final = 3


class Intake:
    """See the module. `now` names conflict copies.

    Args:
        may_push: whether what is decided here can be told to others.
    """

    def __init__(
        self,
        side: LocalSide,
        *,
        now: Callable[[], datetime],
        guard: DeletionGuard,
        may_push: bool = True,
    ) -> None:
        self._side = side
        self._now = now
        self._guard = guard
        self._may_push = may_push
        self._placements: list[Placement] = []
        self._deletions: list[Arrival] = []
        self._wanted: list[Wanted] = []

    def start(self) -> None:
        """Begin a pull: what an earlier one has left undone will come again."""
        self._deletions.clear()
        self._wanted.clear()

    def receive(self, records: Iterable[Incoming], mode: Mode, count: PullCount) -> None:
        """Take records in. Deletions are made by `finish`.

        Raises:
            DiskFull: no space; the records will come again.
        """
        try:
            for incoming in records:
                self._receive(incoming, mode, count)
        finally:  # on a full disk too: what was written aside is either in its place or gone
            self._place_all(mode, count)

    def finish(self, mode: Mode, count: PullCount) -> None:
        """Make the deletions that came, name what could not be opened, and remember everything.

        Raises:
            TooManyDeletions: the deletions were too many, and none was made. All else was.
            DiskFull, FolderError: the disk.
        """
        deletions = self._deletions[:]
        self._deletions.clear()
        try:
            if deletions:
                self._guard.check(len(deletions), len(self._side.scan.files))
                for arrival in deletions:
                    self._settle(arrival, mode, count, deleting=True)
                self._place_all(mode, count)
        finally:
            for record in count.undecryptable:
                row = self._side.row(record)
                path = row.path if row is not None and row.path else f"record {record}"
                self._side.tell(Event(Kind.UNDECRYPTABLE, path, NOT_DECRYPTABLE))
            self._side.flush()

    def take_wanted(self) -> list[Wanted]:
        """The large files to be downloaded now, by path. Each is pending until it is placed."""
        wanted, self._wanted = sorted(self._wanted, key=lambda one: one.path), []
        return wanted

    def place_fetched(self, wanted: Wanted, fetched: str, count: PullCount) -> None:
        """Put a downloaded file where it belongs, as the folder is by now, and remember that.

        Raises:
            DiskFull, FolderError: the disk.
        """
        self._settle(replace(wanted.arrival, fetched=fetched), Mode.APPLY, count)
        self._place_all(Mode.APPLY, count)
        self._side.flush()

    def postpone(self, wanted: Wanted, reason: str) -> None:
        """Name a large file that could not be had now; the next pull asks for it again."""
        self._postpone(wanted.arrival.row, wanted.arrival.remote.cursor, reason)
        self._side.flush()

    # From a record to what it means.

    def _receive(self, incoming: Incoming, mode: Mode, count: PullCount) -> None:
        row = self._side.row(incoming.record) or Row(incoming.record, None, Absent())
        if not isinstance(row.base, Absent) and incoming.cursor <= row.base.cursor:
            return
        if incoming.sealed is None:
            self._receive_bare_tombstone(row, Tombstone(incoming.cursor), mode, count)
            return
        file = self._open(row, incoming, count)
        if file is None:
            return
        row = replace(row, content=self._pointed_to(file))
        if self._is_ignored(row, file.path, incoming.cursor):
            return
        if file.version < row.version:
            # Somebody wrote a later version: who shows this one again goes back.
            count.rolled_back += 1
            self._side.note(
                replace(row, path=file.path, pending_cursor=incoming.cursor, pending_reason=OLDER)
            )
            text = f"the server shows version {file.version}, and this device has seen version {row.version}"
            self._side.tell(Event(Kind.ROLLED_BACK, file.path, text))
            return
        remote: Content | Tombstone
        if file.kind is FileKind.DELETED:
            remote = Tombstone(incoming.cursor)
        else:
            remote = Content(file.digest, incoming.cursor)
            count.files += 1
            count.size_bytes += len(file.content)
        known = Absent() if _is_fork(row, remote, file.version) else _known(row, remote)
        row = replace(row, path=file.path, version=file.version)
        self._settle(Arrival(row, file.path, remote, known, file), mode, count)

    def _pointed_to(self, file: PlainFile) -> UUID | None:
        """The content record that the record of a file points to. If we sent it, that has come to its end."""
        if file.pointer is None:
            return None
        self._side.state.transfers.end_upload(file.pointer.content)
        return file.pointer.content

    def _receive_bare_tombstone(self, row: Row, tombstone: Tombstone, mode: Mode, count: PullCount) -> None:
        if self._side.forget_content(row.record):
            return
        if row.path is None:
            self._side.note(replace(settled(row), base=tombstone))
            return
        if self._is_ignored(row, row.path, tombstone.cursor):
            return
        proven = not self._side.state.proves_deletions
        known = _known(row, tombstone)
        self._settle(Arrival(row, row.path, tombstone, known, proven=proven), mode, count)

    def _is_ignored(self, row: Row, path: str, cursor: int) -> bool:
        """Whether an ignore file hides the path: then only that there is something is remembered."""
        if not self._side.scan.ignore.hides(path, is_folder=False):
            return False
        self._side.note(replace(row, path=path, pending_cursor=cursor, pending_reason=IGNORED))
        return True

    def _open(self, row: Row, incoming: Incoming, count: PullCount) -> PlainFile | None:
        assert incoming.sealed is not None
        try:
            file = self._side.cipher.read(incoming.record, incoming.sealed)
        except Undecryptable:
            count.undecryptable.append(incoming.record)
            self._side.note(replace(row, pending_cursor=incoming.cursor, pending_reason=NOT_DECRYPTABLE))
            return None
        except OtherKind:
            count.opened += 1
            self._raise_format()
            self._side.note(replace(row, pending_cursor=incoming.cursor, pending_reason=OTHER_KIND))
            return None
        except ForeignRecord:
            count.opened += 1
            self._postpone(row, incoming.cursor, "a record of a later version of less-sync")
            return None
        count.opened += 1
        if isinstance(file, PlainContent):
            self._raise_format()
            self._take_content(row, KnownContent(incoming.record, incoming.cursor, file))
            return None
        problem = path_problem(file.path)
        if problem is None and self._side.cipher.record_id(file.path) != incoming.record:
            problem = "its record belongs to another path"
        if problem is not None:
            self._postpone(row, incoming.cursor, problem, name=file.path)
            return None
        if file.version:
            self._raise_format()
        return file

    def _take_content(self, row: Row, content: KnownContent) -> None:
        if row.path is not None:
            # No release puts one in the place of a path, and what is pushed there would conflict for ever.
            self._side.note(replace(row, pending_cursor=content.cursor, pending_reason=OTHER_KIND))
            return
        self._side.note_content(content)
        if row.pending_cursor is not None:
            self._side.note(settled(row))  # it could not be opened before

    def _raise_format(self) -> None:
        if not self._side.state.proves_deletions:
            self._side.state.raise_space_format()

    # From what it means to what is done.

    def _settle(self, arrival: Arrival, mode: Mode, count: PullCount, *, deleting: bool = False) -> None:
        """Decide and act, looking again when the file changes under our hands."""
        reason = "it keeps changing while it is being replaced"
        row, remote = arrival.row, arrival.remote
        for attempt in range(arrival.attempt, _ATTEMPTS_MAX + 1):
            try:
                here = self._side.here(arrival.path, row)
                action = decide(local=here.local, known=arrival.known, remote=remote)
                if isinstance(action, DeleteHere) and not deleting and mode is Mode.APPLY and arrival.proven:
                    self._deletions.append(arrival)
                    return
                self._act(action, replace(arrival, attempt=attempt), here, mode)
                return
            except ChangedMeanwhile:
                continue
            except Obstacle as obstacle:
                if obstacle.replaced and isinstance(remote, Tombstone):
                    self._side.note(replace(settled(row), base=remote))
                    return
                reason = str(obstacle)
                count.in_the_way += obstacle.replaced
                break
        self._postpone(row, remote.cursor, reason)

    def _act(self, action: Action, arrival: Arrival, here: Here, mode: Mode) -> None:
        row, remote = arrival.row, arrival.remote
        match action:
            case Nothing() | Note() | Upload() | UploadDeletion():
                if not arrival.proven and self._is_ours_to_tell(row, here):
                    pending = replace(row, pending_cursor=remote.cursor, pending_reason=UNPROVEN)
                    self._side.note(pending)  # deleted here as well: `push` sends the proof
                    return
                same = isinstance(remote, Content) and here.local == Content(remote.digest)
                stamp = stamp_of(here.stat, here.noted_ns) if same and here.stat else None
                self._side.note(replace(settled(row), base=remote, stamp=stamp))
                return
            case DeleteHere() if not arrival.proven:
                self._postpone(row, remote.cursor, UNPROVEN)
            case DeleteHere() | Download() | KeepBoth() if mode is not Mode.APPLY:
                if mode is Mode.LOOK:
                    self._tell_what_would_be(action, arrival)
                self._side.note(replace(row, pending_cursor=remote.cursor, pending_reason=NOT_PULLED))
            case DeleteHere():
                assert here.stat is not None
                self._side.tree.delete(here.raw, expected=here.stat)
                self._side.note(replace(settled(row), base=remote))
                self._side.tell(Event(Kind.DELETED_HERE, arrival.path))
            case KeepBoth() | Download() if arrival.is_to_be_fetched:
                pending = replace(row, pending_cursor=remote.cursor, pending_reason=NOT_FETCHED)
                self._side.note(pending)
                self._wanted.append(Wanted(arrival))
            case KeepBoth():
                self._set_aside(arrival.path, here)
                self._write_aside(arrival, Here(here.raw, Absent()))
            case Download():
                self._write_aside(arrival, here)

    def _is_ours_to_tell(self, row: Row, here: Here) -> bool:
        """Whether both sides had the file, it is gone here too, and others can be told so."""
        return self._may_push and isinstance(row.base, Content) and isinstance(here.local, Absent)

    def _tell_what_would_be(self, action: Action, arrival: Arrival) -> None:
        size_bytes = arrival.size_bytes
        match action:
            case DeleteHere():
                self._side.tell(Event(Kind.DELETED_HERE, arrival.path))
            case KeepBoth():
                copy = conflict_path(arrival.path, self._now())
                self._side.tell(Event(Kind.CONFLICT, arrival.path, copy, size_bytes))
            case _:
                self._side.tell(Event(Kind.PULLED, arrival.path, size_bytes=size_bytes))

    def _write_aside(self, arrival: Arrival, here: Here) -> None:
        assert arrival.file is not None
        noted_ns = self._side.wall_ns()
        file = arrival.file
        spooled = arrival.fetched or self._side.tree.spool(file.content, mtime_ns=file.mtime_ns)
        self._placements.append(Placement(arrival, here, spooled, noted_ns))

    def _place_all(self, mode: Mode, count: PullCount) -> None:
        while self._placements:
            # By path, for people: records come in the order of ids, which looks like none.
            placements = sorted(self._placements, key=lambda one: one.arrival.path)
            self._placements = []
            try:
                self._side.tree.sync_spooled(one.spooled for one in placements)
                while placements:
                    self._place(placements.pop(0), mode, count)
            except Obstacle as obstacle:  # what was written aside is not there any more, or cannot be synced
                for one in placements:
                    self._postpone(one.arrival.row, one.arrival.remote.cursor, str(obstacle))
            finally:
                for one in placements:
                    self._side.tree.drop(one.spooled)

    def _place(self, one: Placement, mode: Mode, count: PullCount) -> None:
        arrival = one.arrival
        try:
            placed = self._side.tree.place(one.spooled, one.here.raw, expected=one.here.stat)
        except ChangedMeanwhile:
            self._settle(replace(arrival, attempt=arrival.attempt + 1), mode, count)
            return
        except Obstacle as obstacle:
            count.in_the_way += obstacle.replaced
            self._postpone(arrival.row, arrival.remote.cursor, str(obstacle))
            return
        stamp = stamp_of(placed, one.noted_ns)
        self._side.note(replace(settled(arrival.row), base=arrival.remote, stamp=stamp))
        self._side.tell(Event(Kind.PULLED, arrival.path, size_bytes=arrival.size_bytes))

    def _set_aside(self, path: str, here: Here) -> None:
        """Rename the edit that lost. A kill right after it leaves the name free, and the pull fills it."""
        assert here.stat is not None
        side, at = self._side, self._now()
        for attempt in range(1, 1000):
            copy = conflict_path(path, at, attempt)
            raw = conflict_path(here.raw, at, attempt)
            try:
                if side.tree.stat(raw) is not None or side.row(side.cipher.record_id(copy)) is not None:
                    continue
            except Obstacle:
                continue
            side.tree.rename(here.raw, raw, expected=here.stat)
            side.tell(Event(Kind.CONFLICT, path, copy))
            return
        raise Obstacle("too many conflict copies within one second")

    def _postpone(self, row: Row, cursor: int, reason: str, *, name: str = "") -> None:
        self._side.note(replace(row, pending_cursor=cursor, pending_reason=reason))
        self._side.tell(Event(Kind.SKIPPED, row.path or name or f"record {row.record}", reason))


def _known(row: Row, remote: Content | Tombstone) -> Remote:
    """What both sides had: the server's version itself if this folder pushed it and never heard so."""
    ours = row.sent == (remote.digest if isinstance(remote, Content) else b"")
    return remote if ours else row.base


def _is_fork(row: Row, remote: Content | Tombstone, version: int) -> bool:
    """Whether this is another record of the version that both sides had, as after a backup was restored.

    Neither of the two follows the other, so both are kept. Format 1 has no versions to tell by.
    """
    if version == 0 or version != row.version or row.pending_cursor is not None:
        return False
    if isinstance(remote, Content) and isinstance(row.base, Content):
        return remote.digest != row.base.digest
    return isinstance(row.base, Content) and isinstance(remote, Tombstone)
