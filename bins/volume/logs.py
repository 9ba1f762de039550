"""The log of the volume server: the lines of `bins/log_lines.py` from the standard library's records.

structlog, which the other server logs through, costs a third of the time that this one takes to start.
"""

import asyncio
import logging
import sys
from typing import Any, Final, TextIO

from less_sync.bins.log_lines import Lines, event_of, json_line, text_line
from less_sync.bins.supervisor import Ended
from less_sync.volume.logs import Logger

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}
_NAMES: Final = {
    logging.DEBUG: "debug",
    logging.INFO: "info",
    logging.WARNING: "warn",
    logging.ERROR: "error",
    logging.CRITICAL: "error",
}
_OWN: Final = "less_sync"


def configure_logging(*, level: str, form: str, stream: TextIO | None = None) -> None:
    """Log from `level` up to `stream` (standard output), as `text` or `json`; libraries from WARNING up."""
    root = logging.getLogger()
    root.handlers[:] = [_Handler(stream or sys.stdout, form)]
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger(_OWN).setLevel(_LEVELS[level])


def log_loop_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler of an event loop: the loop's own message would show the task and its exception."""
    first_line = str(context.get("message", "")).partition("\n")[0]
    Logger(f"{_OWN}.asyncio").error(first_line, fault=context.get("exception"))


def log_ended(ended: Ended) -> None:
    """For `Supervisor`: say which vital task has ended, and why."""
    Logger(f"{_OWN}.supervisor").error("a vital task has ended", fault=ended.fault, task=ended.task)


class _Handler(logging.Handler):
    """Writes a line for each record. Of a library's message the template alone, which quotes no client."""

    def __init__(self, stream: TextIO, form: str) -> None:
        super().__init__()
        self._lines: Final = Lines(stream)
        self._render: Final = json_line if form == "json" else text_line

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        fields: dict[str, Any] | None = getattr(record, "fields", None)
        if fields is None:
            message, fields = str(record.msg).partition("\n")[0], {"source": record.name}
        else:
            message = record.getMessage()
        fault = record.exc_info[1] if record.exc_info else None
        event = event_of(_NAMES.get(record.levelno, "info"), message, fault, dict(fields))
        self._lines.write(self._render(event) + "\n")
        self._lines.flush()
