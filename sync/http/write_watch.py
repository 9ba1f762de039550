"""Notices that a peer takes nothing of what was sent to it: TCP alone would wait for ever."""

import asyncio
import contextlib
import fcntl
import struct
import termios
from typing import Final

TICKS: Final = 4
"""How often a wait is looked at: a peer is given up after its time and at most a quarter of it more."""


class WriteWatch:
    """Aborts a connection whose peer acknowledged no byte for `stall_s` while bytes wait for it.

    A peer that takes one byte in that time is slow, and is waited for.
    """

    __slots__ = ("_idle_ticks", "_stall_s", "_timer", "_transport", "_unsent_bytes")

    def __init__(self, transport: asyncio.Transport, stall_s: float) -> None:
        self._transport = transport
        self._stall_s = stall_s
        self._timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0
        self._idle_ticks = 0

    def start(self) -> None:
        """Watch from now on, afresh."""
        self.stop()
        self._unsent_bytes = self._unsent()
        self._idle_ticks = 0
        self._arm()

    def stop(self) -> None:
        """Watch no more. Must be called when the connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._stall_s / TICKS, self._look)

    def _look(self) -> None:
        before, self._unsent_bytes = self._unsent_bytes, self._unsent()
        self._idle_ticks = 0 if self._unsent_bytes < before else self._idle_ticks + 1
        if self._idle_ticks < TICKS:
            self._arm()
        else:
            self._timer = None
            self._transport.abort()

    def _unsent(self) -> int:
        """Bytes that the peer has not acknowledged, here or in the kernel.

        The kernel's share counts because a megabyte may leave it before it asks for more.
        """
        queued = bytearray(4)
        with contextlib.suppress(OSError):  # a system that cannot say
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
        waiting: int = struct.unpack("i", queued)[0]
        return self._transport.get_write_buffer_size() + waiting
