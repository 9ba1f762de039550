"""The server's log of one run: every line goes to one function, and nowhere else."""

import logging
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

import structlog


class Log(Protocol):
    """Takes one line."""

    def __call__(self, level: str, event: str, **fields: object) -> None: ...


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields = {"exc_info": record.exc_info} if record.exc_info else {}
        self._log(record.levelname.lower(), record.getMessage(), **fields)


@contextmanager
def captured(log: Log) -> Iterator[None]:
    """Send structlog's lines and logging's to `log` while the block runs."""

    def take(_logger: Any, level: str, fields: MutableMapping[str, Any]) -> NoReturn:
        log(level, str(fields.pop("event")), **fields)
        raise structlog.DropEvent

    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = [_Handler(log)]
    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
        root.handlers = handlers
        root.setLevel(level)
