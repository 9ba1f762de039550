"""Receiving WebSocket frames: websockets' parser, held still behind a stranger's first message.

Until a token was accepted the parser reads one message, and no bytes behind it: what those are is judged
later, by the bounds of somebody who is known. Once this side has closed, nothing but the peer's close frame
counts, and no payload is kept.

The parser is a generator that asks its reader for data; between two frames it asks whether there is more.
That question is where it is held, and where it is sent another way. A message that is one short frame, and
all of what was read, does not need it: nearly all messages are, and the generator takes five times as long.
"""

import logging
from collections.abc import Generator
from typing import Final

from websockets import frames
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.streams import StreamReader

_LOGGER: Final = logging.getLogger("websockets.server")
"""As the core would look it up for each connection."""
_DATA: Final = (Opcode.BINARY, Opcode.TEXT, Opcode.CONT)
_apply_mask: Final = frames.apply_mask  # type: ignore[attr-defined]  # in C where that was built
_WHOLE_BINARY: Final = 0x82
"""First byte of a frame that is a binary message: FIN, nothing reserved (RFC 6455 5.2)."""
_MASKED: Final = 0x80
_LONG: Final = 126
"""Length in the second byte of a frame whose length stands in the two bytes behind it."""


class _Reader(StreamReader):
    held = False
    detour: Generator[None] | None = None
    between_frames = False
    """Whether all that came was parsed, up to the end of a frame."""

    def at_eof(self) -> Generator[None, None, bool]:
        """What the parser asks between two frames. The end of the stream is never told to it."""
        while True:
            if self.detour is not None:
                yield from self.detour
            if self.buffer and not self.held:
                self.between_frames = False
                return False
            self.between_frames = not self.buffer
            yield


class Receiver(Protocol):
    """websockets' core past the handshake; it reports a violation instead of closing in its own words.

    Args:
        first_message_bytes: for the first message, its fragments together. Judged by the header of a frame.
        first_frames: frames that may come until the token is accepted, control frames included.
    """

    failure: CloseCode | int | None = None
    """How the peer broke RFC 6455; nothing is read any more then."""

    reader: _Reader

    def __init__(self, *, first_message_bytes: int, first_frames: int) -> None:
        super().__init__(SERVER, state=OPEN, max_size=first_message_bytes, logger=_LOGGER)
        self._first_frames = first_frames
        self._whole_bytes_max = -1
        """What `whole_message` takes: nothing, empty or not, until there is trust."""
        self.trusted = False
        self.reader = _Reader()
        self.parser = self.parse()
        next(self.parser)

    @property
    def held(self) -> bool:
        """True while the first message is complete and nothing behind it is read."""
        return self.reader.held

    @property
    def unread_bytes(self) -> int:
        """What has come and was not parsed yet."""
        return len(self.reader.buffer)

    def whole_message(self, data: bytes) -> bytes | None:
        """The message, if `data` is one frame of less than 64 KiB that the parser would make one of.

        None: `data` is for `receive_data`, and nothing has changed.
        """
        reader = self.reader
        if (
            not reader.between_frames
            or reader.detour is not None
            or self.close_rcvd is not None
            or self.current_size is not None  # fragments have come: a message must not begin
            or len(data) < 6
            or data[0] != _WHOLE_BINARY
        ):
            return None
        length, start = data[1] - _MASKED, 6
        if length == _LONG:
            length, start = int.from_bytes(data[2:4]), 8
        elif length > _LONG:  # eight bytes say how long it is
            return None
        if len(data) != start + length or length > self._whole_bytes_max:
            return None
        return _apply_mask(memoryview(data)[start:], data[start - 4 : start])

    def trust(self, message_bytes_max: int) -> None:
        """Somebody known is at the other end: `message_bytes_max` for each message, any number of frames."""
        self.trusted = True
        self.max_message_size = self._whole_bytes_max = message_bytes_max

    def resume(self) -> None:
        """Parse what was held."""
        self.reader.held = False
        next(self.parser)

    def close_only(self) -> None:
        """Look for a close frame alone from the next frame on, and keep nothing."""
        self.reader.detour = self._skim()
        if self.failure is None:
            self.resume()

    def recv_frame(self, frame: Frame) -> None:
        super().recv_frame(frame)
        if not self.trusted:
            self._first_frames -= 1
            if self._first_frames < 0:
                raise ProtocolError("too many frames before the token was accepted")
            self.reader.held = frame.fin and frame.opcode in _DATA

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        self.failure = code
        self.parser = self._swallow()
        next(self.parser)

    def _swallow(self) -> Generator[None]:
        """Discard input for good: the rest of an oversize message, frames after a violation."""
        while True:
            self.reader.discard()
            yield

    def _skim(self) -> Generator[None]:
        """Pass over frames by their headers (RFC 6455 5.2), up to a close frame."""
        reader = self.reader
        while True:
            opcode, length = yield from reader.read_exact(2)
            left = length & 0x7F
            if left >= 126:
                left = int.from_bytes((yield from reader.read_exact(2 if left == 126 else 8)))
            if length & 0x80:
                left += 4  # the mask
            while left:
                passed = min(left, len(reader.buffer))
                del reader.buffer[:passed]
                left -= passed
                if left:
                    yield
            if opcode & 0x0F == Opcode.CLOSE:
                self.events.append(Frame(Opcode.CLOSE, b""))
                yield from self._swallow()
