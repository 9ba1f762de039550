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
    """Something that is not stored was said in a space, for clients alone: a complete notification."""

    space: bytes
    payload: bytes


class Present(News, frozen=True, array_like=True, tag=6):
    """Somebody at this node shows, or still shows, something in a space."""

    space: bytes
    peer: str
    """A pseudonym."""
    data: bytes


class Left(News, frozen=True, array_like=True, tag=7):
    """Somebody at this node is there no more."""

    space: bytes
    peer: str


class Asked(News, frozen=True, array_like=True, tag=8):
    """This node has begun to listen to a space: who is there at the others?"""

    space: bytes


class Here(News, frozen=True, array_like=True, tag=9):
    """An answer: everybody at this node who is present in a space. What it does not name has left."""

    space: bytes
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
    usual = len(news.node) == NODE_BYTES and (space is None or len(space) == 16)
    return news if usual else None
