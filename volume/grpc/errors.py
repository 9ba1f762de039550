"""What a call fails with, and what its client is told."""

import os
from typing import Final

import grpc

from less_sync.volume.engine.errors import VolumeError
from less_sync.volume.format.errors import FormatError
from less_sync.volume.logs import Logger
from less_sync.volume.master.masters import MasterFailed

_log = Logger(__name__)
TEXT_CHARS_MAX: Final = 4_096
"""Of an error: it travels in the trailers, and many clients refuse those above 8 KiB."""


class CallError(Exception):
    """A call that fails with a text and a code of its own; `UNKNOWN` is what most errors are on the wire."""

    def __init__(self, text: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(text)
        self.code: Final = code


def status_of(error: Exception, method: str) -> tuple[grpc.StatusCode, str]:
    """The code and the text of an answer. What nobody expected says nothing of itself and is logged."""
    match error:
        case CallError():
            code, text = error.code, str(error)
        case VolumeError() | FormatError() | MasterFailed():
            code, text = grpc.StatusCode.UNKNOWN, str(error)
        case OSError():
            code, text = grpc.StatusCode.UNKNOWN, system_text(error)
        case _:
            _log.error("call failed", fault=error, method=method)
            return grpc.StatusCode.UNKNOWN, "internal error"
    return code, text[:TEXT_CHARS_MAX].encode(errors="backslashreplace").decode()


def text_of(error: Exception) -> str:
    """An error within the text of another one."""
    return system_text(error) if isinstance(error, OSError) else str(error)


def system_text(error: OSError) -> str:
    """A fault of the operating system as existing servers word it: `open /x: no such file or directory`."""
    reason = (os.strerror(error.errno) if error.errno else str(error) or "i/o error").lower()
    return f"open {error.filename}: {reason}" if error.filename is not None else reason
