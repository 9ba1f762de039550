"""Logging of the process: one line per event on standard output, as text or JSON, and nothing private in it.

A fault is logged by its kind and place alone, because the text of an exception may quote what a client sent.
What libraries log through the standard library joins the same stream, from WARNING up and without arguments,
for the same reason.
"""

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, TextIO

import structlog

from less_sync.bins.log_lines import EventDict, Lines, event_of, json_line, text_line

_LEVELS: Final = {"trace": 0, "debug": 10, "info": 20, "warn": 30, "error": 40, "off": 50}
WARNINGS_KEPT: Final = 50
_GRAVE: Final = frozenset({"warn", "error"})
_NAMES: Final = {"warning": "warn", "critical": "error", "exception": "error"}


class Logging:
    """How this process logs now, and what it has warned of. One per process, as structlog's setting is."""

    def __init__(self) -> None:
        self.level = "off"
        self.warnings: deque[EventDict] = deque(maxlen=WARNINGS_KEPT)
        """The last events of level `warn` and above, oldest first, as they are written."""


in_force: Final = Logging()


def configure_logging(
    *, level: str, form: str, stream: TextIO | None = None, bound: Mapping[str, object] | None = None
) -> None:
    """Set up structlog, the standard library's logging and the lines themselves.

    Args:
        level: `off`, `error`, `warn`, `info`, `debug` or `trace`.
        form: `text`, or `json` with the keys `ts` (RFC 3339, UTC), `level` and `msg` first.
        stream: standard output, unless a test looks.
        bound: fields that every line has, before its own.
    """
    render = json_line if form == "json" else text_line

    def rendered(_logger: Any, _method: str, event: EventDict) -> str:
        return render(event)

    def with_bound(_logger: Any, _method: str, event: EventDict) -> EventDict:
        return {**(bound or {}), **event}

    set_log_level(level)
    structlog.configure(
        processors=[*([with_bound] if bound else ()), _order_and_clean, rendered],
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(Lines(stream or sys.stdout)),  # type: ignore[arg-type]  # only write and flush are used
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(logging.WARNING)
    # uvicorn warns of each malformed request, and its access lines hold addresses and paths.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def set_log_level(level: str) -> None:
    """Let all loggers tell from now on what is at least as grave as `level`, those in use included.

    structlog's filters are classes whose suppressed methods do nothing at all, and a logger keeps the class
    that it was first used with. So our class takes over the methods of the filter that is wanted.
    """
    in_force.level = level
    wanted = structlog.make_filtering_bound_logger(_LEVELS[level])
    for name, method in vars(wanted).items():
        if not name.startswith("__"):
            setattr(_Logger, name, method)
    if level == "off":  # above the gravest level that structlog has a filter for
        for name in ("critical", "fatal", "log"):
            setattr(_Logger, name, wanted.debug)


def log_loop_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Exception handler of an event loop: the loop's own message would show the task and its exception."""
    first_line = str(context.get("message", "")).partition("\n")[0]
    structlog.get_logger("asyncio").error(first_line, exc_info=context.get("exception"))


class _Logger(structlog.BoundLoggerBase):
    """The class of every logger; its methods are those of the level in force (`set_log_level`)."""


class _Bridge(logging.Handler):
    """Hands the standard library's records to structlog: the first line of the message's *template*."""

    def emit(self, record: logging.LogRecord) -> None:
        first_line = str(record.msg).partition("\n")[0]
        fault = record.exc_info[1] if record.exc_info else None
        write = (
            structlog.get_logger().error
            if record.levelno >= logging.ERROR
            else structlog.get_logger().warning
        )
        write(first_line, source=record.name, exc_info=fault)


def _order_and_clean(_logger: Any, method: str, event: EventDict) -> EventDict:
    """Time, level and message first; an exception becomes `fault`."""
    message = event.pop("event", "")
    fault = event.pop("exc_info", None)
    if fault is True:
        fault = sys.exc_info()[1]
    elif isinstance(fault, tuple):
        fault = fault[1]
    level = _NAMES.get(method, method)
    told = event_of(level, message, fault if isinstance(fault, BaseException) else None, event)
    if level in _GRAVE:
        in_force.warnings.append(dict(told))  # the line that is made of it consumes it
    return told
