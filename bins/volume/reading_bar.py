"""What a check and an export show while they read: a bar on a terminal, and nothing elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class ReadingBar:
    """Bytes read of all there are, on standard error."""

    def __init__(self, doing: str, total_bytes: int) -> None:
        self._doing: Final = doing
        self._total_bytes: Final = total_bytes
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            # Imported for those who see it: it takes longer than many a check.
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                *columns,
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self._doing, total=self._total_bytes or None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: int) -> None:
        """So many more bytes are read."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)
