"""What the signals to a server ask for; one of several processes passes them on (docs/scaling.md 1.2)."""

import asyncio
import os
import signal
from collections.abc import Callable

from less_sync.bins.hangups import has_terminal, take_hangups


def _end_with_1() -> None:
    # Not sys.exit: nothing may hold this up. The next start tidies up after an embedded Postgres.
    os._exit(1)


class Signals:
    """SIGTERM and SIGINT: the first asks for a stop, the second ends the process at once with status 1.

    SIGHUP asks for another look at what may have changed, or for a stop when the terminal is gone that the
    server was started from: a server that nobody sees would go on otherwise.

    Args:
        at_once: what the second one does.
    """

    def __init__(self, at_once: Callable[[], None] = _end_with_1) -> None:
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._at_once = at_once
        self._had_terminal = has_terminal()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        take_hangups()

    def _on_stop(self) -> None:
        if self.stop.is_set():
            self._at_once()
        self.stop.set()

    def _on_hangup(self) -> None:
        if self._had_terminal and not has_terminal():
            self.stop.set()
        else:
            self.reload.set()
