"""What to do about one path, from three states: here, as both sides last had it, and on the server.

The whole safety of the folder client is this table: nothing is overwritten or deleted that the other side
has not seen. A change on one side only is carried over; the same change on both is merely noted; different
changes on both keep both contents: an edit beats a deletion, and of two edits the one that reached the server
first keeps the name while the other lives on as a conflict copy. Pure: no clock, no disk, no network.
"""

from dataclasses import dataclass
from typing import assert_never


@dataclass(frozen=True, slots=True)
class Absent:
    """Nothing there: no file here; never seen on the server."""


@dataclass(frozen=True, slots=True)
class Content:
    """A file with these bytes. `cursor` is 0 on this side, and the record's on the server's."""

    digest: bytes
    cursor: int = 0


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The record was deleted on the server at this cursor."""

    cursor: int


Local = Absent | Content
Remote = Absent | Content | Tombstone
"""Also the state both sides last had: what the server said then."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """Both sides are as they were."""


@dataclass(frozen=True, slots=True)
class Note:
    """Both sides agree: remember the server's state, move no bytes."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Push this side's content. `expected_cursor` is the record's, 0 when it must not exist."""

    expected_cursor: int


@dataclass(frozen=True, slots=True)
class UploadDeletion:
    """Push a tombstone over the record at this cursor."""

    expected_cursor: int


@dataclass(frozen=True, slots=True)
class Download:
    """Write the server's content here. What stands here now is what both sides had, or nothing."""


@dataclass(frozen=True, slots=True)
class DeleteHere:
    """Delete the file here: it is what both sides had, and the server's was deleted."""


@dataclass(frozen=True, slots=True)
class KeepBoth:
    """Rename the file here to a conflict copy, then write the server's content under its name."""


Action = Nothing | Note | Upload | UploadDeletion | Download | DeleteHere | KeepBoth


def decide(*, local: Local, known: Remote, remote: Remote) -> Action:
    """Say what brings one path into agreement.

    Args:
        local: the file here, now.
        known: the server's state when both sides last agreed; Absent when they never did.
        remote: the server's state now; equal to `known` when nothing newer was pulled.
    """
    match remote:
        case Content():
            return _against_content(local, known, remote)
        case Tombstone():
            return _against_tombstone(local, known, remote)
        case Absent():
            return Upload(0) if isinstance(local, Content) else Nothing()
        case _:
            assert_never(remote)


def _against_content(local: Local, known: Remote, remote: Content) -> Action:
    moved_there = known != remote
    if isinstance(local, Content):
        if local.digest == remote.digest:
            return Note() if moved_there else Nothing()
        if not moved_there:
            return Upload(remote.cursor)
        untouched_here = isinstance(known, Content) and known.digest == local.digest
        return Download() if untouched_here else KeepBoth()
    if moved_there:
        return Download()  # new there, or edited there while it was deleted here: the edit wins
    return UploadDeletion(remote.cursor)


def _against_tombstone(local: Local, known: Remote, remote: Tombstone) -> Action:
    if isinstance(local, Content):
        if isinstance(known, Content) and known.digest == local.digest:
            return DeleteHere()
        return Upload(remote.cursor)  # edited or made anew here: the edit wins
    return Note() if known != remote else Nothing()
