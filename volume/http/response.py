"""An answer: status, headers and where its body comes from."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

from less_sync.volume.format.checksums import Bytes

if TYPE_CHECKING:
    from less_sync.volume.engine.data_file import FileSlice

Header = tuple[str, str | bytes]
"""A name in the form in which it is sent, and a value. Text is sent as UTF-8; lone surrogates are the bytes
that they came from. Line ends in a value are sent as blanks, so that no value can add a header."""


class FilePart:
    """`length` bytes of a slice of a file from `start` on. Whoever sends it releases the slice."""

    __slots__ = ("file", "length", "start")

    def __init__(self, file: "FileSlice", start: int, length: int) -> None:
        self.file: Final = file
        self.start: Final = start
        self.length: Final = length


class Pieces:
    """A body that comes piece by piece; the next piece is asked for when the one before has left.

    `length` is the sum of all pieces, or None if nobody knows: such a body is sent chunked. An iterator that
    raises, or ends early, cuts the connection. It is closed (by `aclose`, if it has one) when the answer is
    over, also if nobody ever asked it for a piece.
    """

    __slots__ = ("length", "pieces")

    def __init__(self, pieces: AsyncIterator[Bytes], length: int | None) -> None:
        self.pieces: Final = pieces
        self.length: Final = length


STREAMED: Final = (FilePart, Pieces)
Content = Bytes | FilePart | Pieces


class Response:
    """What a handler answers.

    `headers` are the handler's own; `Server`, the request id, CORS, `Date`, the framing and a sniffed
    `Content-Type` are added when it is sent. An own `Content-Length` stays: a HEAD tells the length of a body
    it does not have. `sent` is called exactly once: when the last byte has left this process, or when the
    connection is lost before that.
    """

    __slots__ = ("body", "headers", "lines", "sent", "status")

    def __init__(
        self,
        status: int,
        headers: list[Header] | None = None,
        body: Content = b"",
        sent: Callable[[], None] | None = None,
    ) -> None:
        self.status = status
        self.headers: list[Header] = [] if headers is None else headers
        self.lines = ""
        """All header lines, length and type among them, if the handler has them ready; then no `headers`."""
        self.body: Content = body
        self.sent = sent

    def content_length(self) -> int | None:
        """Bytes in the body, None if nobody knows."""
        body = self.body
        return body.length if isinstance(body, STREAMED) else len(body)


def plain_text(status: int, text: str, headers: list[Header] | None = None) -> Response:
    """An error that is no JSON: the text and a line end."""
    own: list[Header] = [] if headers is None else headers
    own += (("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff"))
    return Response(status, own, text.encode("utf-8", "surrogateescape") + b"\n")
