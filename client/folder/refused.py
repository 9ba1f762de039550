"""`less-sync trash`: what a pull took away, taking it back, and taking over what was refused."""

import os
import unicodedata
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from less_sync.client.folder.errors import FolderError, UsageProblem
from less_sync.client.folder.files import TRASH, FileTree
from less_sync.client.folder.local import OLDER, UNPROVEN
from less_sync.client.folder.paths import STATE_DIR
from less_sync.client.folder.state import FolderState, disk_errors
from less_sync.client.folder.trash import Trash, Trashed
from less_sync.client.folder.walk import ChangedMeanwhile, Obstacle


@dataclass(frozen=True, slots=True)
class Place:
    """A synced folder and a path in it, which need not exist."""

    root: Path
    path: str


def place_of(path: Path) -> Place:
    """The synced folder that a path lies in, and the path as records spell it.

    Raises:
        UsageProblem: it lies in none.
    """
    whole = Path(os.path.abspath(path))  # a link is not followed: it is in no record
    for root in whole.parents:
        if (root / STATE_DIR).is_dir():
            return Place(root, unicodedata.normalize("NFC", str(whole.relative_to(root))))
    raise UsageProblem(f"{path} lies in no synced folder")


def trashed(folder: Path) -> list[Trashed]:
    """What is in a folder's trash, the latest first.

    Raises:
        UsageProblem: it is no synced folder.
        FolderError: the trash cannot be read.
    """
    if not (folder / STATE_DIR).is_dir():
        raise UsageProblem(f"{folder} is no synced folder")
    with disk_errors(f"cannot read {folder / STATE_DIR / TRASH}"):
        trash = Trash(folder / STATE_DIR / TRASH)
        try:
            return trash.entries()
        finally:
            trash.close()


def restore(place: Place) -> Trashed:
    """Put the latest version of a path in the trash back; what is there now comes into the trash.

    Raises:
        UsageProblem: the trash has no such path.
        FolderBusy: another command works in the folder.
        FolderError: it cannot be put there.
    """
    with ExitStack() as stack:
        state = stack.enter_context(FolderState.open(place.root))
        with disk_errors(f"cannot open {place.root}"):
            tree = FileTree(place.root, state.directory)
        stack.callback(tree.close)
        found = next((one for one in tree.trash.entries() if one.path == place.path), None)
        if found is None:
            raise UsageProblem(f"the trash has no {place.path}", "`less-sync trash` lists what it has")
        _changing(lambda: tree.put_back(found), place.path)
        return found


def empty(folder: Path) -> int:
    """Remove everything from a folder's trash and return how many files that were.

    Raises: as `trashed`, and FolderBusy.
    """
    number = len(trashed(folder))
    with FolderState.open(folder) as state, disk_errors(f"cannot empty {state.directory / TRASH}"):
        trash = Trash(state.directory / TRASH)
        try:
            trash.prune(everything=True)
        finally:
            trash.close()
    return number


def accept(place: Place) -> str:
    """Take over what the server shows of a path and a pull has refused; say what comes next.

    A deletion without proof is made: the file goes to the trash. An older version is taken by the next pull.

    Raises:
        UsageProblem: nothing was refused there.
        FolderBusy: another command works in the folder.
        FolderError: the file cannot be removed.
    """
    with ExitStack() as stack:
        state = stack.enter_context(FolderState.open(place.root))
        row = state.by_path(place.path)
        if row is None or row.pending_reason not in (OLDER, UNPROVEN):
            raise UsageProblem(f"nothing that the server shows of {place.path} was refused")
        if row.pending_reason == OLDER:
            # As if no later version had been seen; the pending cursor has the next pull ask for it again.
            state.put([replace(row, version=0)])
            return "the next `pull` takes the server's version"
        with disk_errors(f"cannot open {place.root}"):
            tree = FileTree(place.root, state.directory)
        stack.callback(tree.close)

        def delete() -> None:
            there = tree.stat(place.path)
            if there is not None:
                tree.delete(place.path, expected=there)
                tree.sync_folders()

        _changing(delete, place.path)
        return "it is in the trash; the next `push` tells the other devices"


def _changing(change: Callable[[], None], path: str) -> None:
    try:
        change()
    except ChangedMeanwhile:
        raise FolderError(f"{path} changed in this moment", "run it again") from None
    except Obstacle as obstacle:
        raise FolderError(f"{path}: {obstacle}") from obstacle
