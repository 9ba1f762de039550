"""The sampler: who is at work counts, who waits does not, and nothing but names of functions is shown."""

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from less_sync.bins.profiler import cpu
from less_sync.bins.profiler.cpu import Sampler, cpu_ns


class Worker:
    """A thread that stands still in `outer` or `inner`, whichever it is told."""

    def __init__(self) -> None:
        self.inside = threading.Event()
        self.leave = threading.Event()
        self.thread = threading.Thread(target=self.outer)

    def outer(self) -> None:
        self.inner("a secret")

    def inner(self, _value: str) -> None:
        self.inside.set()
        self.leave.wait()


@contextmanager
def working() -> Iterator[Worker]:
    worker = Worker()
    worker.thread.start()
    worker.inside.wait()
    yield worker
    worker.leave.set()
    worker.thread.join()


def frames(worker: Worker) -> dict[int, FrameType]:
    """The worker's stack, once it has come to the innermost place where it waits."""
    ident = worker.thread.ident
    assert ident is not None
    while (frame := sys._current_frames()[ident]).f_code.co_qualname != "Condition.wait":
        worker.thread.join(0.001)
    return {ident: frame}


def test_a_thread_counts_when_it_has_used_cpu_since_the_look_before() -> None:
    used = iter([0, 5, 9])
    sampler = Sampler(lambda _: next(used))
    with working() as worker:
        for _ in range(3):
            sampler.look(frames(worker))
    (line,) = sampler.collapsed().splitlines()
    stack, count = line.rsplit(" ", 1)
    assert count == "2"  # the first look has none before it
    here = f"{__name__}:Worker"
    assert f"{here}.outer;{here}.inner;" in stack
    assert "secret" not in line


def test_what_was_counted_where_a_thread_turns_out_to_wait_is_left_away() -> None:
    used = iter([0, 5, 9, 9])
    sampler = Sampler(lambda _: next(used))
    with working() as worker:
        for _ in range(4):
            sampler.look(frames(worker))
    assert sampler.collapsed() == ""


def test_where_cpu_time_cannot_be_known_every_look_counts() -> None:
    sampler = Sampler(lambda _: None)
    with working() as worker:
        for _ in range(3):
            sampler.look(frames(worker))
    assert sampler.collapsed().endswith(" 2\n")
    assert cpu_ns(2**31 - 1) is None


def test_the_looking_thread_itself_never_counts() -> None:
    sampler = Sampler(lambda _: None)
    for _ in range(3):
        sampler.look({threading.get_ident(): sys._getframe()})
    assert sampler.collapsed() == ""


def test_different_stacks_are_bounded() -> None:
    sampler = Sampler(lambda _: None)
    sampler._counts.update({((n, 0, 0), (str(n),)): 1 for n in range(cpu.STACKS_MAX)})
    with working() as worker:
        for _ in range(3):
            sampler.look(frames(worker))
    assert "\nother 2\n" in f"\n{sampler.collapsed()}"
    assert len(sampler._counts) == cpu.STACKS_MAX + 1


def test_a_busy_thread_is_found_among_waiting_ones() -> None:
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    busy = threading.Thread(target=spin)
    sampler = Sampler()
    with working():
        busy.start()
        sampler.run(0.3, threading.Event())
        stop.set()
        busy.join()
    assert "spin" in sampler.collapsed().splitlines()[0]
    # Where the system tells no CPU time, who waits cannot be told from who works.
    assert ("Worker.inner" in sampler.collapsed()) is (cpu_ns(threading.get_native_id()) is None)


def test_short_steps_of_a_loop_are_found_though_it_waits_in_between() -> None:
    """Steps just below the 5 ms after which the interpreter hands its lock on: much shorter ones hide on a
    machine without an idle core, where looks happen only once the loop has gone to sleep."""
    loop = asyncio.new_event_loop()

    def step() -> None:
        ends_s = time.thread_time() + 0.004
        while time.thread_time() < ends_s:
            pass
        loop.call_later(0.0005, step)

    def run() -> None:
        loop.call_soon(step)
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    before_s = sys.getswitchinterval()
    sampler = Sampler()
    for _ in range(20):
        sampler.run(0.5, threading.Event())
        if ".step" in sampler.collapsed():
            break
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert ".step" in sampler.collapsed()
    assert sys.getswitchinterval() == before_s


def test_a_stop_ends_the_looking_at_once() -> None:
    stop = threading.Event()
    stop.set()
    sampler = Sampler(lambda _: pytest.fail("a look"))
    sampler.run(60, stop)
    assert sampler.collapsed() == ""
