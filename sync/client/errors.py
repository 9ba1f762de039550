"""What a call of the client can end in, apart from its result.

SyncClientError
├── ServerUnavailable      try again later: nothing is wrong with the request
│   ├── ConnectFailed      no connection could be made
│   ├── ConnectionLost     it broke while the call was under way: its fate is unknown
│   ├── RequestTimeout     no answer in time: its fate is unknown
│   └── StreamOverrun      its chunks came faster than they were taken while another answer was waited for
├── TokenUnavailable       the token source gave none
├── TokenRefused           the server will not have this token; the client never reconnects with it
├── RequestFailed          an error response; `code` is an `ErrorCode` or one this version does not know
├── FrameTooLarge          the request does not fit into one frame; nothing was sent
├── FilesNotServed         the server has no file storage
├── FilesScopeMissing      the token is not for files
├── FileTooLarge           the server takes no file of this size
├── FileRefused            another refusal of a file request; `status` and `error` are the server's
├── NotThisProtocol        the other end does not speak the protocol, or broke it
└── ClientClosed           the client was closed

A conflict is no error but a value: `PushResult.error`.
"""

from datetime import timedelta
from typing import Final

from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE, ErrorCode

NO_CLOSE_FRAME: Final = 1006
"""The close code of a connection that ended without one (RFC 6455, 7.1.5)."""


class SyncClientError(Exception):
    """Root of the client's errors. No text of these holds a token or payload bytes."""


class ServerUnavailable(SyncClientError):
    """The server is away or does not answer."""


class ConnectFailed(ServerUnavailable):
    """No connection: refused, unknown host, TLS failure, timeout, or the server is busy."""


class ConnectionLost(ServerUnavailable):
    """The connection ended. `code` is the close code, `NO_CLOSE_FRAME` when there was none."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"connection lost ({self.code}{': ' + self.reason if self.reason else ''})"


class RequestTimeout(ServerUnavailable):
    """The server did not answer in time."""

    def __init__(self, method: str, timeout_s: float) -> None:
        super().__init__(method, timeout_s)
        self.method = method
        self.timeout_s = timeout_s

    def __str__(self) -> str:
        return f"no answer to {self.method} within {self.timeout_s:g} s"


class StreamOverrun(ServerUnavailable):
    """A stream was cut off so that the answer to another request could be read.

    Ask again from where it broke, as `SyncClient.pull` does by itself.
    """

    def __str__(self) -> str:
        return "more came than could be kept while another answer was waited for"


class TokenUnavailable(SyncClientError):
    """The token source failed: a file that is not there, a command that ended in an error."""


class TokenRefused(SyncClientError):
    """Closed with 4000 or 4002 (docs/protocol.md 11); or a file request was answered 401, which is `code`.

    `reason` is the server's: `expired auth token`, say.

    `clock_difference` is how far this machine's clock is ahead of the server's (negative: behind) if that is
    over a minute: then a token made here may be none there. None: it is less, or not known.
    """

    def __init__(self, code: int, reason: str, clock_difference: timedelta | None = None) -> None:
        super().__init__(code, reason, clock_difference)
        self.code = code
        self.reason = reason
        self.clock_difference = clock_difference

    def __str__(self) -> str:
        text = f"the server refused the token: {self.reason or self.code}"
        return text if self.clock_difference is None else f"{text}; {clock_words(self.clock_difference)}"


def clock_words(difference: timedelta) -> str:
    """Say how far this clock is ahead of the server's, or behind it where that is negative."""
    seconds = round(abs(difference.total_seconds()))
    units = (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    name, unit_s = next(unit for unit in units if seconds >= 2 * unit[1] or unit[1] == 1)
    side = "ahead" if difference > timedelta() else "behind"
    return f"this clock differs from the server's by {seconds // unit_s} {name} (it is {side})"


class RequestFailed(SyncClientError):
    """The server answered with an error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    @property
    def hosted_elsewhere(self) -> bool:
        """Whether only the space's home does this (docs/federation.md 9)."""
        return self.code == ErrorCode.BAD_REQUEST and self.message == HOSTED_ELSEWHERE

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class FrameTooLarge(SyncClientError):
    """A request of more bytes than a frame may have."""

    def __init__(self, size_bytes: int, bytes_max: int) -> None:
        super().__init__(size_bytes, bytes_max)
        self.size_bytes = size_bytes
        self.bytes_max = bytes_max

    def __str__(self) -> str:
        return f"a frame of {self.size_bytes} bytes exceeds {self.bytes_max}"


class FilesNotServed(SyncClientError):
    """The server has no file storage: there is no such route (docs/files.md)."""

    def __str__(self) -> str:
        return "the server has no file storage"


class FilesScopeMissing(SyncClientError):
    """The token lacks the scope `files`."""

    def __str__(self) -> str:
        return "the token is not for files: it lacks the scope `files`"


class FileTooLarge(SyncClientError):
    """A file is larger than the server takes. `error` says it, `file exceeds 100 MB limit`, or is empty."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return f"the server takes no file of this size{': ' + self.error if self.error else ''}"


class FileRefused(SyncClientError):
    """A request about a file was refused for what it asks.

    `status` is that of HTTP, `error` the server's word for it: `record not found in this space`, say; empty
    when there was none.
    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error

    @property
    def hosted_elsewhere(self) -> bool:
        """Whether only the space's home does this (docs/federation.md 9)."""
        return self.error == HOSTED_ELSEWHERE

    def __str__(self) -> str:
        return f"the server refused a file request ({self.status}{': ' + self.error if self.error else ''})"


class NotThisProtocol(SyncClientError):
    """The address is another kind of server's, or frames came that break the protocol."""


class ClientClosed(SyncClientError):
    """The client was closed while the call waited, or before it."""

    def __str__(self) -> str:
        return "the client is closed"
