"""What a backup and a restore show while they work: a bar on a terminal, and nowhere else."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from less_sync.bins.backup.watching import Doing
from less_sync.bins.errors import print_warning

_MARKED: Final = (Doing.PREPARING, Doing.CONTENTS, Doing.LOADING)


class _Bar:
    """Shows each part on standard error."""

    def __init__(self, *columns: ProgressColumn) -> None:
        console = Console(stderr=True)
        first = (TextColumn("{task.description}"), BarColumn())
        self._bar = Progress(
            *first, *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, doing: str, total: int) -> None:
        """As `Watcher.begin`."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(str(doing), total=total or None)

    def advance(self, amount: int) -> None:
        """As `Progress.advance`."""
        if self._task is not None:
            self._bar.advance(self._task, amount)


class BackupBar(_Bar):
    """Watches a backup; warnings are told everywhere."""

    def __init__(self) -> None:
        super().__init__(DownloadColumn(), TransferSpeedColumn())

    def warn(self, text: str) -> None:
        """As `Watcher.warn`."""
        print_warning(text)


class RestoreBar(_Bar):
    """Watches a restore, and remembers how far it came."""

    def __init__(self) -> None:
        super().__init__(TimeRemainingColumn())
        self._seen: set[str] = set()

    def begin(self, doing: str, total: int) -> None:
        """As `Progress.begin`."""
        self._seen.add(doing)
        super().begin(doing, total)

    @property
    def state(self) -> str:
        """What a restore that ended early left behind, and how it is finished."""
        if Doing.MIGRATING in self._seen:
            return "the rows and contents are restored; the same command brings the schema up to date"
        if self._seen.isdisjoint(_MARKED):
            return "nothing was changed"
        return "the restore has not finished, and no server starts until it has: the same command goes on"
