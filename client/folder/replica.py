"""One folder and its state as a replica of a space: takes records in, gives changes out. No network.

    LocalSide (local.py)   the folder as it is now, and what is remembered of each record
    Intake    (intake.py)  records in         Outbox (outbox.py)  changes out

Blocking, one call at a time.
"""

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from less_sync.client.folder.changes import FILE_STORAGE_ABOVE_BYTES
from less_sync.client.folder.crypto import RecordCipher
from less_sync.client.folder.deletions import DeletionGuard
from less_sync.client.folder.files import FileTree
from less_sync.client.folder.intake import Intake
from less_sync.client.folder.local import LocalSide
from less_sync.client.folder.outbox import Outbox
from less_sync.client.folder.own_files import OwnFiles
from less_sync.client.folder.report import Event
from less_sync.client.folder.state import FolderState


class Replica:
    """See the module. `tell` receives what happened to files; `now` names conflict copies.

    Args:
        own: this program's secrets in use, which are never pushed.
        accept_deletions: let a pull delete as many files as it wants.
        may_push: whether what is decided here can be told to others.
        above_bytes: content of more than this goes to file storage, if the server has one.
    """

    def __init__(
        self,
        root: Path,
        state: FolderState,
        tree: FileTree,
        cipher: RecordCipher,
        *,
        tell: Callable[[Event], None],
        now: Callable[[], datetime],
        own: OwnFiles | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
        clock: Callable[[], float] = time.monotonic,
        accept_deletions: bool = False,
        may_push: bool = True,
        above_bytes: int = FILE_STORAGE_ABOVE_BYTES,
    ) -> None:
        self.state = state
        self.side = LocalSide(root, state, tree, cipher, tell=tell, own=own, wall_ns=wall_ns)
        guard = DeletionGuard(accept_deletions, clock)
        self.intake = Intake(self.side, now=now, guard=guard, may_push=may_push)
        self.outbox = Outbox(self.side, above_bytes=above_bytes)
