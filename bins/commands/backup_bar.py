"""What a backup shows while it works: a bar on a terminal, warnings everywhere."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn


class BackupBar:
    """Shows each part on standard error."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
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
        """As `Watcher.advance`."""
        if self._task is not None:
            self._bar.advance(self._task, amount)

    def warn(self, text: str) -> None:
        """As `Watcher.warn`."""
        print(f"warning: {text}", file=sys.stderr, flush=True)
