"""SIGHUP while the server has no handler for it yet, or none any more: it waits and does not end the process.

systemd counts an end by SIGHUP as a clean one and starts nothing anew, so a reload that comes right behind a
start would leave no server behind.
"""

import os
import signal


def hold_hangups() -> None:
    """Let SIGHUP wait in this thread until `take_hangups`; threads and processes made meanwhile inherit it.

    Not where there is a terminal: its going away shall end a start at once.
    """
    if not has_terminal():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def take_hangups() -> None:
    """Deliver what has waited, to a handler that is there by now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def has_terminal() -> bool:
    """Whether this process belongs to a terminal; the kernel takes it away before it sends SIGHUP."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
