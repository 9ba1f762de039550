"""Loggers of this room: a message and fields, through the standard library, so that `bins` decides the form.

A record carries its fields as `record.fields`. Importing structlog would cost a third of the time to start.
"""

import logging
from typing import Final


class Logger:
    """Writes `message` with keyword fields: `log.warning("volume skipped", volume=3)`."""

    def __init__(self, name: str) -> None:
        self._logger: Final = logging.getLogger(name)

    def debug(self, message: str, **fields: object) -> None:
        """For whoever looks for a fault."""
        self._log(logging.DEBUG, message, fields, None)

    def info(self, message: str, **fields: object) -> None:
        """Something that an operator may want to know."""
        self._log(logging.INFO, message, fields, None)

    def warning(self, message: str, **fields: object) -> None:
        """Something that an operator should look at."""
        self._log(logging.WARNING, message, fields, None)

    def error(self, message: str, *, fault: BaseException | None = None, **fields: object) -> None:
        """Something failed; `fault` is told by its kind and place."""
        self._log(logging.ERROR, message, fields, fault)

    def _log(self, level: int, message: str, fields: dict[str, object], fault: BaseException | None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", message, extra={"fields": fields}, exc_info=fault)
