"""What the operator's console is told while it is open: one event a second (docs/operations.md 18).

While nobody looks nothing is gathered; however many look, it is gathered once a second.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

EVERY_S: Final = 1.0
STREAMS_MAX: Final = 8
"""Consoles that are open at a time."""


class Shown(Protocol):
    """Gathers what a console shows."""

    def looked_at(self, looked_at: bool) -> None:
        """The first console was opened, or the last one closed."""

    async def told(self) -> Mapping[str, Any]:
        """What there is to tell now; goes into JSON."""

    async def aclose(self) -> None:
        """End what was being gathered."""


class _Events(StreamingResponse):
    """One console's events, which occupy one of the places while they are sent."""

    def __init__(self, console: "Console") -> None:
        super().__init__(console.events(), media_type="text/event-stream")
        self._console = console

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._console.open():
            await super().__call__(scope, receive, send)


class Console:
    """Hands what is shown to every open console.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, shown: Shown, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self._clock = clock
        self._open = 0
        self._closed = asyncio.Event()
        self._event = b""
        self._event_s = -EVERY_S
        self._gathering: asyncio.Task[None] | None = None

    def response(self) -> Response | None:
        """Server-sent events (WHATWG HTML 9.2) until the listener closes; None: `STREAMS_MAX` are open."""
        return None if self._open >= STREAMS_MAX else _Events(self)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Occupy a place."""
        if not self._open:
            self._shown.looked_at(True)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._shown.looked_at(False)

    async def events(self) -> AsyncIterator[bytes]:
        """One at once, then one a second, until the listener closes."""
        while not self._closed.is_set():
            yield await self._current()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._closed.wait()

    async def aclose(self) -> None:
        """End all streams, and what was being gathered for them."""
        self._closed.set()
        if self._gathering is not None:
            self._gathering.cancel()
            await asyncio.wait({self._gathering})
        await self._shown.aclose()

    async def _current(self) -> bytes:
        """The event of this second, gathered by whoever comes first; the others wait for it."""
        if self._gathering is None and self._clock() - self._event_s >= 0.9 * EVERY_S:
            self._gathering = asyncio.create_task(self._gather())
        if (gathering := self._gathering) is not None:
            # Waited for and not awaited: a console that goes must not take the others' event with it.
            await asyncio.wait({gathering})
            if not gathering.cancelled():
                gathering.result()  # a fault ends the stream: what was told before must not pass for now
        return self._event

    async def _gather(self) -> None:
        try:
            text = json.dumps(await self._shown.told(), separators=(",", ":"), default=str)
            self._event, self._event_s = f"data: {text}\n\n".encode(), self._clock()
        finally:
            self._gathering = None
