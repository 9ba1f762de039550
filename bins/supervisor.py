"""The vital tasks of a server. One that ends without being asked to ends the server.

A server without its push lanes, say, would look healthy and answer no push. So none of these tasks is left
to itself: each has an owner that notices its end, whether it raises, returns, or is cancelled from elsewhere.
The others are not cancelled then, as a bare TaskGroup would do: sessions drain first, and need them for that.
"""

import asyncio
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Final, NamedTuple, Self


class Ended(NamedTuple):
    """A vital task that ended unexpectedly. `fault` is None when it simply returned."""

    task: str
    fault: BaseException | None


def _log_ended(ended: Ended) -> None:
    import structlog  # a tenth of a second, which a server that logs otherwise does not pay

    structlog.get_logger(__name__).error("a vital task has ended", task=ended.task, exc_info=ended.fault)


class Supervisor:
    """Runs vital tasks while the `async with` block runs; at its end those still running are cancelled.

    `tell` is told of each task that ends unexpectedly; unless given, it goes to the server's log.
    """

    def __init__(self, tell: Callable[[Ended], None] = _log_ended) -> None:
        self._tell: Final = tell
        self.ended: Final = asyncio.Event()
        """Set once a task has ended unexpectedly: the sign to drain and stop."""
        self.first: Ended | None = None
        """Which one that was; the first, because its end may have brought others with it."""
        self._group: Final = asyncio.TaskGroup()
        self._work: Final[dict[asyncio.Task[None], Coroutine[object, object, None]]] = {}
        self._asked: Final[set[asyncio.Task[None]]] = set()
        self._may_return = False

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._work:
            self.cancel(task)
        # Not told of the block's own error, which the group would wrap; it goes its way when this returns.
        await self._group.__aexit__(None, None, None)
        for work in self._work.values():
            work.close()

    @property
    def running(self) -> tuple[str, ...]:
        """The names of the tasks that run, in the order of their start."""
        return tuple(task.get_name() for task in self._work)

    def start(self, name: str, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run `work` as a vital task. `name` is for the log and for the operator: `push lanes`."""
        task = self._group.create_task(self._watched(name, work), name=name)
        self._work[task] = work
        return task

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel a task, which is not unexpected then. It does nothing more but to end."""
        self._asked.add(task)
        task.cancel()

    async def stop(self, task: asyncio.Task[None]) -> None:
        """Cancel a task and wait for its end."""
        self.cancel(task)
        await asyncio.wait({task})
        self._forget(task)

    def expect_ends(self) -> None:
        """From now on a task may return: the server is stopping. One that raises is a fault all the same."""
        self._may_return = True

    def _forget(self, task: asyncio.Task[None]) -> None:
        # A task that was cancelled before it began never ran its coroutine, which would complain of that.
        work = self._work.pop(task, None)
        if work is not None:
            work.close()

    async def _watched(self, name: str, work: Coroutine[object, object, None]) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await work
        except asyncio.CancelledError as error:
            if task in self._asked:
                raise
            self._note(Ended(name, error))
        except (Exception, SystemExit) as error:  # uvicorn leaves a failed start by SystemExit
            self._note(Ended(name, error))
        else:
            if not self._may_return and task not in self._asked:
                self._note(Ended(name, None))
        finally:
            self._forget(task)

    def _note(self, ended: Ended) -> None:
        self._tell(ended)
        if self.first is None:
            self.first = ended
            self.ended.set()
