"""What a restore shows while it works: a bar on a terminal, and nothing where nobody watches."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from less_sync.bins.backup.load_files import Doing

_MARKED: Final = (Doing.PREPARING, Doing.CONTENTS, Doing.LOADING)


class RestoreBar:
    """Shows each part on standard error, and remembers how far the restore came."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID | None = None
        self._seen: set[Doing] = set()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, doing: Doing, total: int) -> None:
        """As `Progress.begin`."""
        self._seen.add(doing)
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(str(doing), total=total or None)

    def advance(self, amount: int) -> None:
        """As `Progress.advance`."""
        if self._task is not None:
            self._bar.advance(self._task, amount)

    @property
    def state(self) -> str:
        """What a restore that ended early left behind, and how it is finished."""
        if Doing.MIGRATING in self._seen:
            return "the rows and contents are restored; the same command brings the schema up to date"
        if self._seen.isdisjoint(_MARKED):
            return "nothing was changed"
        return "the restore has not finished, and no server starts until it has: the same command goes on"
