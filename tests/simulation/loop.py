"""An event loop whose time, and whose outside world, are a seed's.

Ready callbacks keep their order. What comes from outside (bytes of a client, a result of the database) is no
callback in their queue: it runs between two of them, as uvloop runs reads, because virtual time passes with
every callback and an outside event that is due by then comes next. With nothing ready, time jumps to the next
outside event or timer.
"""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn

Label = str
Outside = Callable[[], None]
Coro = Coroutine[Any, Any, Any] | Generator[Any, None, Any]
"""What asyncio's own types make a task of."""


class Stuck(Exception):
    """The loop was asked to go on although nothing can happen any more, or never came to an end."""


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set is its number, so that it is a seed's too.

    The server and asyncio cancel the tasks of a set in the order of that set. By default this is
    an order of addresses in memory, which are others in another process.
    """

    def __init__(self, coro: Coro, *, number: int, **options: Any) -> None:
        self._number = number  # first: asyncio puts the task into a set of its own
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs in virtual seconds from 0. Has no sockets, processes or threads: asking for them raises.

    Args:
        chance: draws how long each callback takes.
        callback_s_max: the longest a callback takes.
        steps_max: bounds a run that does not end.
        on_outside: told label and time of every outside event.
        on_fault: told what asyncio's exception handler would be.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        callback_s_max: float,
        steps_max: int,
        on_outside: Callable[[float, Label], None],
        on_fault: Callable[[dict[str, Any]], None],  # Any: asyncio's own type of context
    ) -> None:
        super().__init__()
        self._draw = chance.random
        self._callback_s_max = callback_s_max
        self._steps_left = steps_max
        self._on_outside = on_outside
        self._on_fault = on_fault
        self._now_s = 0.0
        self._outside: list[tuple[float, int, Label, Outside]] = []
        self._count = 0
        self._tasks_made = 0
        self.set_task_factory(self._make_task)
        self._ready: Any  # asyncio's own queues, which its stubs do not show
        self._scheduled: Any
        self._stopping: bool
        self._timer_cancelled_count: int

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self._now_s

    def outside(self, delay_s: float, label: Label, event: Outside) -> None:
        """Let something happen outside, `delay_s` from now; what is due together keeps its order."""
        self._count += 1
        heapq.heappush(self._outside, (self._now_s + delay_s, self._count, label, event))

    def run_for(self, seconds: float) -> None:
        """Run until so much virtual time has passed."""
        self.outside(seconds, "pause", self.stop)
        self.run_forever()

    def run_until_idle(self, seconds_max: float) -> None:
        """Run until nothing is ready, scheduled or expected from outside, but no longer than given."""
        self.outside(seconds_max, "idle deadline", self.stop)
        while (len(self._outside) > 1 or self.timers() or self._ready) and self._outside:
            self._stopping = True  # one step at a time
            self.run_forever()
        self._outside.clear()

    def timers(self) -> list[asyncio.TimerHandle]:
        """Those that are set and not cancelled."""
        return [handle for handle in self._scheduled if not handle.cancelled()]

    def _run_once(self) -> None:
        """Run until stopped; asyncio calls it in a loop. One step at least."""
        ready, outside = self._ready, self._outside
        draw, longest = self._draw, self._callback_s_max
        while True:
            self._steps_left -= 1
            if self._steps_left < 0:
                raise Stuck("too many steps")
            now = self._now_s
            if outside and outside[0][0] <= now:
                self._run_outside()
            elif (due := self._due()) is not None and due <= now:
                self._run_timer()
            elif ready:
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
                self._now_s += draw() * longest
            elif outside and (due is None or outside[0][0] <= due):
                self._now_s = outside[0][0]
            elif due is not None:
                self._now_s = due
            else:
                raise Stuck("nothing can happen any more")
            if self._stopping:
                return

    def _due(self) -> float | None:
        """When the next timer is due; drops cancelled ones on the way."""
        scheduled = self._scheduled
        while scheduled:
            handle = scheduled[0]
            if not handle.cancelled():
                when: float = handle.when()
                return when
            heapq.heappop(scheduled)
            handle._scheduled = False
            self._timer_cancelled_count -= 1
        return None

    def _run_timer(self) -> None:
        handle = heapq.heappop(self._scheduled)
        handle._scheduled = False
        handle._run()

    def _run_outside(self) -> None:
        _, _, label, event = heapq.heappop(self._outside)
        self._on_outside(self._now_s, label)
        event()

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Coro, **options: Any) -> SimulatedTask:
        self._tasks_made += 1
        return SimulatedTask(coro, number=self._tasks_made, loop=loop, **options)

    # What there is none of.

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell of a fault: nothing is printed, and nothing is forgiven."""
        self._on_fault(context)

    def run_in_executor(self, *args: object) -> NoReturn:
        """Threads have an order of their own."""
        raise RuntimeError("the simulation has no threads")

    def _write_to_self(self) -> None:
        """`call_soon_threadsafe`, which asyncio calls for its generators: always from this thread."""

    def _no_network(self, *args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError("the simulation has no network but its own")

    create_connection = _no_network
    create_server = _no_network
    create_datagram_endpoint = _no_network
    getaddrinfo = _no_network
    subprocess_exec = _no_network
    subprocess_shell = _no_network
    sock_connect = _no_network
