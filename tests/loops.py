"""An event loop that finds calls from a wrong thread.

asyncio's debug mode does too, but keeps the stack of every task and callback besides: a third of the CPU of
the tests where threads work for a loop.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

import uvloop

Args = TypeVarTuple("Args")


class OwnThreadLoop(uvloop.Loop):
    """Refuses what another thread schedules otherwise than by `call_soon_threadsafe`."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.get_ident()

    def call_soon(
        self, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.Handle:
        """Also what a future, a task and an event call when they are done or set."""
        self._check()
        return super().call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """In `delay` seconds."""
        self._check()
        return super().call_later(delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Args], object], *args: *Args, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """At `when` seconds of the loop's clock."""
        self._check()
        return super().call_at(when, callback, *args, context=context)

    def _check(self) -> None:
        if threading.get_ident() != self._own:
            raise RuntimeError("called from another thread than the loop's: call_soon_threadsafe is for that")
