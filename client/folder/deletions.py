"""Deletions that a pull brings: how many are believed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from less_sync.client.folder.errors import TooManyDeletions

DELETIONS_UNASKED: Final = 20
"""So many files are deleted here without a question, whatever their share of the folder."""
_DELETION_WINDOW_S: Final = 600.0


@dataclass(slots=True)
class DeletionGuard:
    """Stops deletions that would empty the folder: more than half of its files, and more than twenty.

    What comes within ten minutes counts together, else a watch would let them pass a few at a time.
    """

    accepted: bool
    clock: Callable[[], float]
    _since_s: float | None = None
    _files: int = 0
    _deleted: int = 0

    def check(self, number: int, files: int) -> None:
        """Let so many deletions pass in a folder of so many files.

        Raises:
            TooManyDeletions: they are too many.
        """
        now_s = self.clock()
        if self._since_s is None or now_s - self._since_s > _DELETION_WINDOW_S:
            self._since_s, self._files, self._deleted = now_s, files, 0
        total = self._deleted + number
        if not self.accepted and total > DELETIONS_UNASKED and 2 * total > self._files:
            raise TooManyDeletions(
                f"{total} of {self._files} files here would be deleted, as they were on the server; none was",
                "if that is right, --accept-deletions deletes them, and the trash keeps them for 30 days",
            )
        self._deleted = total
