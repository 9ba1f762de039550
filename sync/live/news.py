"""What nodes tell each other, as bytes (docs/scaling.md 3.2): one MessagePack array a message, tag first.

Written by one node and read by the others of the same cluster, of this release or a neighbouring one. A
message that cannot be read is dropped: the comparison with the database heals what it would have told.
"""

from typing import Final

import msgspec

NODE_BYTES: Final = 8
"""A node's id: random, new with each start of a process."""
NEWS_BYTES_MAX: Final = 256 * 1024
"""Payload of one message at most; of a longer commit only the news travels, and receivers read the rows."""
SAID_BYTES_MAX: Final = NEWS_BYTES_MAX - 1024
"""What one person may show or say beyond the own node; so much is in one part of an answer at most."""


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One notification of a commit, for subscribers that spell the space in the canonical form."""

    payload: bytes
    clients_only: bool = False


class News(msgspec.Struct, frozen=True, array_like=True):
    """What every message begins with."""

    node: bytes
    """Who says so, `NODE_BYTES` bytes."""


class Committed(News, frozen=True, array_like=True, tag=1):
    """One commit in a space whose home is here: its cursor went from `prev` to `cursor`."""

    space: bytes
    """16 bytes, as in all of these."""
    prev: int
    cursor: int
    frames: tuple[Frame, ...] = ()
    """All of its notifications in order; none: too long, read the rows."""


class Revoked(News, frozen=True, array_like=True, tag=2):
    """UCANs were revoked in a space, which moves no cursor."""

    space: bytes
    cids: tuple[str, ...]


class Created(News, frozen=True, array_like=True, tag=3):
    """A shared space was created, perhaps under an id that was purged before."""

    space: bytes


class Invited(News, frozen=True, array_like=True, tag=4):
    """An invitation was stored. Of the mailbox only a hash travels."""

    mailbox: bytes
    """The first 16 bytes of the SHA-256 of its id."""
    invitation: bytes = b""
    """Its id, 16 bytes, by which the comparison knows that it was told; empty where nobody knows it."""


class Event(News, frozen=True, array_like=True, tag=5):
    """Somebody at this node said something in a space that is not stored. For clients alone."""

    space: bytes
    number: int
    """Which of this node's events it is, from 1: a repeated one is known by it."""
    peer: str
    """A pseudonym."""
    data: bytes


class Present(News, frozen=True, array_like=True, tag=6):
    """Somebody at this node shows, or still shows, something in a space. For clients alone."""

    space: bytes
    prev: int
    """The number of the last message before this one about who is present in this space; 0: nobody was."""
    number: int
    """Its own: they ascend over all spaces of a node."""
    peer: str
    data: bytes


class Left(News, frozen=True, array_like=True, tag=7):
    """Somebody at this node is there no more."""

    space: bytes
    prev: int
    number: int
    peer: str


class Asked(News, frozen=True, array_like=True, tag=8):
    """Who is there at the others?"""

    space: bytes
    whom: bytes = b""
    """The node that must answer even if nobody is; empty: all at which somebody is."""


class Here(News, frozen=True, array_like=True, tag=9):
    """An answer, or a part of one: who is present at this node in a space. What none names has left."""

    space: bytes
    number: int
    """Of the last message that it tells the outcome of."""
    part: int
    """From 0."""
    parts: int
    peers: tuple[tuple[str, bytes], ...]
    """Pseudonym and data of each."""


class Alive(News, frozen=True, array_like=True, tag=10):
    """A sign of life, every few seconds."""

    name: str
    """`NODE_NAME` and the number of the worker, for operators."""


class Gone(News, frozen=True, array_like=True, tag=11):
    """This node has stopped: nobody is there any more."""


AnyNews = Committed | Revoked | Created | Invited | Event | Present | Left | Asked | Here | Alive | Gone

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(AnyNews)


def encode_news(news: AnyNews) -> bytes:
    """One message."""
    return _ENCODER.encode(news)


def decode_news(message: bytes) -> AnyNews | None:
    """What a message says; None when it is none of ours."""
    try:
        news = _DECODER.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    space = getattr(news, "space", None)
    whom = getattr(news, "whom", b"")
    usual = len(news.node) == NODE_BYTES and (space is None or len(space) == 16)
    usual = usual and len(whom) in (0, NODE_BYTES)
    return news if usual else None
